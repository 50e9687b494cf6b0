/** A function for warm.mjs. */

/** @param {Request} request */
export default async function answer(request) {
  await request.json();
  const { pathname } = new URL(request.url);
  return Response.json({ pathname, type: request.headers.get('content-type') });
}
