// The AWS Lambda signature: an event comes in, a result goes out. JSON bodies arrive as text in event.body.
export async function handler(event, context) {
  const input = event.body ? JSON.parse(event.body) : {};
  const name = input.name ?? 'world';
  return { message: `Hello, ${name}!`, invocation: context.awsRequestId };
}
