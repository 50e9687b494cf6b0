import { expect, test } from 'vitest';
import { LOG_MARK } from '../../core/control.ts';
import { startFunction, BROKEN } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

/** An instance of `export default async (request) => { <body> }`. */
const web = (body: string, before = '') =>
  startFunction({ files: { 'index.mjs': `${before}\nexport default async (request) => {\n${body}\n}` } });

test('method, path, query, repeated headers and body arrive as they were sent', async () => {
  await using fn = await web(`return Response.json({
    method: request.method, url: request.url, a: request.headers.get('x-a'), cookie: request.headers.get('cookie'),
    body: await request.text(), used: request.bodyUsed })`);
  const headers = ['host', 'shop.example:81', 'x-a', '1', 'X-A', '2', 'cookie', 'a=1', 'cookie', 'b=2'];
  const reply = await fn.request('/a%2Fb/../c?q=%20&q=2', { method: 'PUT', headers, body: 'grüße' });
  expect(reply.json()).toEqual({
    method: 'PUT',
    url: 'http://shop.example:81/c?q=%20&q=2',
    a: '1, 2',
    cookie: 'a=1; b=2',
    body: 'grüße',
    used: true,
  });
});

test('the url says https when the client spoke it to the gateway', async () => {
  await using fn = await web('return new Response(request.url)');
  expect((await fn.request('/x', { headers: { 'x-forwarded-proto': 'https' } })).text()).toBe(
    'https://hello.localhost/x',
  );
});

test.each([
  ['a text', 'new Response("hällo")', 'hällo', 'text/plain;charset=UTF-8', '6'],
  ['bytes', 'new Response(new Uint8Array([104, 105]))', 'hi', undefined, '2'],
  ['JSON', 'Response.json({ a: 1 })', '{"a":1}', 'application/json', '7'],
  [
    'a form',
    'new Response(new URLSearchParams({ a: "1 2" }))',
    'a=1+2',
    'application/x-www-form-urlencoded;charset=UTF-8',
    '5',
  ],
  ['a blob', 'new Response(new Blob(["blob"], { type: "text/x" }))', 'blob', 'text/x', undefined],
  ['nothing', 'new Response()', '', undefined, '0'],
  ['a stream', 'new Response(ReadableStream.from([Buffer.from("a"), Buffer.from("b")]))', 'ab', undefined, undefined],
  ['a body that was read through', 'new Response(new Response("twice").body)', 'twice', undefined, undefined],
])('%s goes out with its type, and its length where it is known', async (_, expression, text, type, length) => {
  await using fn = await web(`return ${expression}`);
  const reply = await fn.request('/');
  expect(reply.status).toBe(200);
  expect(reply.text()).toBe(text);
  expect(reply.headers['content-type']).toBe(type);
  expect(reply.headers['content-length']).toBe(length);
});

test('status, reason, headers and every cookie go out; what belongs to the connection does not', async () => {
  await using fn = await web(`
    const headers = new Headers({ 'x-a': '1', connection: 'close', 'transfer-encoding': 'gzip' });
    headers.append('x-a', '2'); headers.append('set-cookie', 'a=1'); headers.append('set-cookie', 'b=2');
    return new Response('no', { status: 418, statusText: 'Short and stout', headers })`);
  const { status, headers } = await fn.request('/');
  expect(status).toBe(418);
  expect(headers).toMatchObject({ 'x-a': '1, 2', 'set-cookie': ['a=1', 'b=2'] });
  expect(headers).not.toHaveProperty('transfer-encoding');
  expect(headers).not.toHaveProperty('connection'); // In HTTP/1.1 that means that it stays open.
});

test('a wrong content-length of the function is corrected where the body is known', async () => {
  await using fn = await web('return new Response("four", { headers: { "content-length": "1000" } })');
  expect((await fn.request('/')).headers['content-length']).toBe('4');
});

test.each(['1', '1000'])('a stream that is not the %s bytes long its header says is broken off', async (length) => {
  await using fn = await web(`if (request.url.endsWith('/ok')) return new Response('ok');
    const body = ReadableStream.from([Buffer.from('four')]);
    return new Response(body, { headers: { 'content-length': '${length}' } })`);
  await expect(fn.request('/')).rejects.toThrow(BROKEN);
  expect((await fn.request('/ok')).text()).toBe('ok');
});

test('HEAD and 204 have no body, HEAD has the length of the one it would have', async () => {
  await using fn = await web(
    'return request.method === "HEAD" ? new Response("12345") : new Response(null, { status: 204 })',
  );
  const head = await fn.request('/', { method: 'HEAD' });
  expect([head.status, head.text(), head.headers['content-length']]).toEqual([200, '', '5']);
  const none = await fn.request('/', { method: 'DELETE' });
  expect([none.status, none.text(), none.headers['content-length']]).toEqual([204, '', undefined]);
});

test('the first chunk leaves when it is written, the head even before there is one', async () => {
  await using fn = await web(`
    let writer; const stream = new TransformStream(); writer = stream.writable.getWriter();
    process.once('SIGUSR2', () => { writer.write(Buffer.from('one'));
      process.once('SIGUSR2', () => { writer.write(Buffer.from('two')); writer.close(); }); });
    return new Response(stream.readable, { headers: { 'content-type': 'text/event-stream' } })`);
  const { headers, body } = await fn.open('/');
  expect(headers['content-type']).toBe('text/event-stream');
  const chunks = body[Symbol.asyncIterator]();
  fn.process.kill('SIGUSR2');
  expect(String((await chunks.next()).value)).toBe('one');
  fn.process.kill('SIGUSR2');
  expect(String((await chunks.next()).value)).toBe('two');
  expect((await chunks.next()).done).toBe(true);
});

test('a request body streams through: read as a stream, sent as one', async () => {
  await using fn = await web(`return new Response(request.body.pipeThrough(new TransformStream({
    transform(chunk, controller) { controller.enqueue(Buffer.from(chunk).map((byte) => byte ^ 1)) } })))`);
  const sent = Buffer.alloc(3 << 20, 'ab');
  const { body } = await fn.request('/', { method: 'POST', body: sent });
  expect(body.equals(sent.map((byte) => byte ^ 1))).toBe(true);
});

test.each([
  ['is not read', ''],
  ['is read in part', 'const reader = request.body.getReader(); await reader.read();'],
  ['is cancelled', 'await request.body.cancel();'],
  ['is left in the middle of a loop', 'for await (const chunk of request.body) break;'],
])('a request body that %s does not stand in the way of the next request', async (_, reading) => {
  await using fn = await web(`${reading} return new Response('early', { status: 413 })`);
  for (let call = 0; call < 3; call++) {
    const reply = await fn.request('/', { method: 'POST', body: Buffer.alloc(5 << 20) });
    expect([reply.status, reply.text()]).toEqual([413, 'early']);
  }
});

test('a reply nobody reads is not produced', async () => {
  await using fn = await web(
    `if (request.url.endsWith('/made')) return Response.json({ made, cancelled });
     return new Response(new ReadableStream({
       pull(controller) { made++; controller.enqueue(Buffer.alloc(65536)) }, cancel() { cancelled = true } }))`,
    'let made = 0, cancelled = false',
  );
  await using other = fn.connect();
  const { body } = await fn.open('/endless');
  const state = async (): Promise<{ made: number; cancelled: boolean }> => {
    const reply = await other.client.request({ method: 'GET', path: '/made' });
    return (await reply.body.json()) as { made: number; cancelled: boolean };
  };
  let { made } = await state();
  await eventually(async () => {
    const before = made;
    ({ made } = await state());
    expect(made).toBe(before);
  });
  expect(made).toBeLessThan(1000);
  body.on('error', () => {}).destroy();
  await eventually(async () => expect(await state()).toMatchObject({ cancelled: true }));
});

test('the signal aborts when the client goes away', async () => {
  await using fn = await web(
    `if (request.url.endsWith('/state')) return new Response(state);
     state = 'waiting';
     await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
     state = request.signal.reason.name;
     return new Response()`,
    'let state = "none"',
  );
  await using other = fn.connect();
  const state = async (): Promise<string> =>
    (await other.client.request({ method: 'GET', path: '/state' })).body.text();
  const leaving = new AbortController();
  const reply = fn.open('/', { signal: leaving.signal });
  await eventually(async () => expect(await state()).toBe('waiting'));
  leaving.abort();
  await expect(reply).rejects.toThrow(BROKEN);
  await eventually(async () => expect(await state()).toBe('AbortError'));
});

test.each([
  ['throws', 'throw new RangeError("boom")', 'RangeError', 'boom'],
  ['returns nothing', '', 'TypeError', 'the handler must return a Response, not undefined'],
  ['returns something else', 'return { status: 200 }', 'TypeError', 'the handler must return a Response, not Object'],
  [
    'returns what an event handler would',
    'return { statusCode: 200 }',
    'TypeError',
    'the handler must return a Response, not Object; an event handler must not be the default export: name it, as in ' +
      '"handler: index.handler"',
  ],
  ['returns an error response', 'return Response.error()', 'TypeError', 'the handler returned Response.error()'],
  [
    'returns a stream that fails at once',
    'return new Response(new ReadableStream({ start(controller) { controller.error(new Error("boom")) } }))',
    'Error',
    'boom',
  ],
])(
  'a handler that %s is a 500 with a message and no stack, and the instance lives on',
  async (_, body, errorType, message) => {
    await using fn = await web(`if (request.url.endsWith('/ok')) return new Response('ok');\n${body}`);
    const reply = await fn.request('/', { headers: { 'x-request-id': 'r1' } });
    expect([reply.status, reply.headers['x-fn-function-error']]).toEqual([500, 'Unhandled']);
    expect(reply.json()).toEqual({ errorType, errorMessage: message });
    expect((await fn.request('/ok')).text()).toBe('ok');
    await eventually(() => expect(fn.stderr).toContain(`${LOG_MARK}r1 ${errorType}: ${message}`));
  },
);

test('a stream that fails half-way breaks the reply off instead of ending it', async () => {
  await using fn = await web(`
    if (request.url.endsWith('/ok')) return new Response('ok');
    const go = new Promise((resolve) => process.once('SIGUSR2', resolve));
    return new Response((async function* () { yield Buffer.from('half'); await go; throw new Error('boom') })())`);
  const { statusCode, body } = await fn.open('/');
  expect(statusCode).toBe(200);
  fn.process.kill('SIGUSR2');
  await expect(body.text()).rejects.toThrow(BROKEN);
  expect((await fn.request('/ok')).text()).toBe('ok');
});

test('a reply of fetch is passed on, decoded', async () => {
  const gzip = `import { createServer } from 'node:http'; import { gzipSync } from 'node:zlib';
    const upstream = createServer((_, res) => res.writeHead(203, { 'content-encoding': 'gzip', 'x-up': '1' }).end(gzipSync('up')));
    await new Promise((go) => upstream.listen(0, '127.0.0.1', go));
    const url = 'http://127.0.0.1:' + upstream.address().port;`;
  await using fn = await web('return fetch(url)', gzip);
  const { status, headers, ...reply } = await fn.request('/');
  expect([status, headers['x-up'], headers['content-encoding'], reply.text()]).toEqual([203, '1', undefined, 'up']);
});
