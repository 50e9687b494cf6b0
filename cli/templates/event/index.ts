interface Event {
  readonly body?: string;
}
interface Context {
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

// The AWS Lambda signature: an event comes in, a result goes out. JSON bodies arrive as text in event.body.
export async function handler(event: Event, context: Context): Promise<{ message: string; invocation: string }> {
  const input = event.body ? (JSON.parse(event.body) as { name?: string }) : {};
  const name = input.name ?? 'world';
  return { message: `Hello, ${name}!`, invocation: context.awsRequestId };
}
