import { expect, test } from 'vitest';
import { startFunction } from '../../support/bootstrap.ts';

test('in a function they are the globals, and undici is loaded only when it sends a request', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `const loaded = () => process.moduleLoadList.some((name) => name.includes('undici/undici'));
        export default async (request) => {
          const before = loaded();
          const { length } = await (await fetch(new Request('data:,hello'))).text();
          const reply = await fetch('data:,x');
          return Response.json({ before, length, after: loaded(), types: [
            request instanceof Request, request.headers instanceof Headers, reply instanceof Response,
            reply.headers instanceof Headers, Response.name, Request.name, Headers.name] }) }`,
    },
  });
  expect((await fn.request('/')).json()).toEqual({
    before: false,
    length: 5,
    after: true,
    types: [true, true, true, true, 'Response', 'Request', 'Headers'],
  });
});

test('an incoming request can be cloned, wrapped and sent on', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `import { createServer } from 'node:http';
        const upstream = createServer(async (req, res) => {
          let body = ''; for await (const chunk of req) body += chunk;
          res.end([req.method, req.url, req.headers['x-a'], body].join(' ')) });
        await new Promise((go) => upstream.listen(0, '127.0.0.1', go));
        const base = 'http://127.0.0.1:' + upstream.address().port;
        export default async (request) => {
          const clone = request.clone();
          const replies = [await fetch(base + '/new', request), await fetch(new Request(base + '/wrapped', clone))];
          return Response.json(await Promise.all(replies.map((reply) => reply.text()))) }`,
    },
  });
  const reply = await fn.request('/', { method: 'POST', headers: { 'x-a': '1' }, body: 'body' });
  expect(reply.json()).toEqual(['POST /new 1 body', 'POST /wrapped 1 body']);
});

test('an incoming form is decoded', async () => {
  await using fn = await startFunction({
    files: { 'index.mjs': 'export default async (request) => Response.json([...(await request.formData())])' },
  });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  expect((await fn.request('/', { method: 'POST', headers, body: 'a=1&b=%C3%BC' })).json()).toEqual([
    ['a', '1'],
    ['b', 'ü'],
  ]);
});
