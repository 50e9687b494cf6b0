// Web standard: a Request comes in, a Response goes out.
export default async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const name = url.searchParams.get('name') ?? 'world';
  return Response.json({ message: `Hello, ${name}!`, method: request.method, path: url.pathname });
}
