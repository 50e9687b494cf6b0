/** The smallest function: a web standard handler. */

export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const name = searchParams.get('name') ?? 'world';
    return Response.json({ hello: name, path: pathname });
  },
};
