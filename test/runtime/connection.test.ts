/** Calls as the gateway writes them, byte by byte where that matters. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { Bootstrap, startFunction } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

const ECHO = `export default async (request) => Response.json([request.method, await request.text()])`;

const instance = (source: string): Promise<Bootstrap> => startFunction({ files: { 'index.mjs': source } });

/** Everything that came on it so far. */
class Raw implements AsyncDisposable {
  readonly socket: Socket;
  received = '';

  constructor({ socket: path }: Bootstrap) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.on('data', (chunk) => (this.received += String(chunk)));
    this.socket.on('error', () => {});
  }

  /** In as many pieces as given, each in a turn of its own at the other side. */
  async send(...pieces: readonly string[]): Promise<void> {
    for (const piece of pieces) {
      this.socket.write(piece, 'latin1');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    if (!this.socket.closed) await once(this.socket, 'close');
  }
}

const POST = 'POST / HTTP/1.1\r\nhost: a\r\n';

test('a body of known length arrives whole, in whatever pieces it comes', async () => {
  await using fn = await instance(ECHO);
  await using raw = new Raw(fn);
  await raw.send(...Array.from(`${POST}content-length: 5\r\n\r\nhello`));
  await eventually(() => expect(raw.received).toMatch(/\r\n\r\n\["POST","hello"\]$/));
});

test('a body in chunks arrives whole, its trailers are not a part of it, and the next request is understood', async () => {
  await using fn = await instance(ECHO);
  await using raw = new Raw(fn);
  const chunked = `${POST}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nB\r\n, \r\nworld!\r\r\n0\r\nx-sum: 1\r\n\r\n`;
  await raw.send(chunked);
  await eventually(() => expect(raw.received).toMatch(/\["POST","hello, \\r\\nworld!\\r"\]$/));
  raw.received = '';
  await raw.send(...Array.from(chunked));
  await eventually(() => expect(raw.received).toMatch(/\["POST","hello, \\r\\nworld!\\r"\]$/));
  raw.received = '';
  await raw.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await eventually(() => expect(raw.received).toMatch(/\["GET",""\]$/));
});

test('two requests that come together are answered in their order', async () => {
  await using fn = await instance(
    `export default async (request) => {
      if (request.url.endsWith('/slow')) await new Promise((resolve) => setTimeout(resolve, 50));
      return new Response(request.url) }`,
  );
  await using raw = new Raw(fn);
  await raw.send('GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET /fast HTTP/1.1\r\nhost: a\r\n\r\n');
  await eventually(() => expect(raw.received).toMatch(/http:\/\/a\/slowHTTP\/1\.1 200 [^]*http:\/\/a\/fast$/));
});

test('who waits for "100 Continue" gets it', async () => {
  await using fn = await instance(ECHO);
  await using raw = new Raw(fn);
  await raw.send(`${POST}expect: 100-continue\r\ncontent-length: 2\r\n\r\n`);
  await eventually(() => expect(raw.received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\n$/));
  await raw.send('hi');
  await eventually(() => expect(raw.received).toMatch(/\["POST","hi"\]$/));
});

test.each([
  ['no request', 'hello\r\n\r\n'],
  ['another version', 'GET / HTTP/1.0\r\n\r\n'],
  ['a field without a name', 'GET / HTTP/1.1\r\n: a\r\n\r\n'],
  ['a length that is none', `${POST}content-length: -1\r\n\r\n`],
  ['a chunk without a size', `${POST}transfer-encoding: chunked\r\n\r\nhello\r\n`],
  ['a chunk longer than it says', `${POST}transfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n`],
  ['a head without end', `GET / HTTP/1.1\r\nx: ${'a'.repeat(300_000)}`],
])('%s ends the connection, and nothing else', async (_, text) => {
  await using fn = await instance(ECHO);
  await using raw = new Raw(fn);
  await raw.send(text);
  await eventually(() => expect(raw.socket.readableEnded || raw.socket.destroyed).toBe(true));
  expect(raw.received).toBe('');
  expect((await fn.request('/')).json()).toEqual(['GET', '']);
});

test('a body that is cut off fails whoever reads it', async () => {
  await using fn = await instance(
    `let seen = 'nothing';
     export default async (request) => {
       if (request.method === 'GET') return new Response(seen);
       seen = 'reading'; try { await request.text() } catch (error) { seen = error.message }
       return new Response() }`,
  );
  await using raw = new Raw(fn);
  await raw.send(`${POST}content-length: 5\r\n\r\nhel`);
  await eventually(async () => expect((await fn.request('/')).text()).toBe('reading'));
  raw.socket.destroy();
  await eventually(async () => expect((await fn.request('/')).text()).toBe('aborted'));
});

test('a header that would break the head is an error of the function', async () => {
  await using fn = await startFunction({
    files: { 'index.mjs': `export const handler = () => ({ statusCode: 200, headers: { 'x-a': 'a\\r\\nx-b: b' } })` },
  });
  const { status, headers, ...reply } = await fn.request('/');
  expect([status, headers['x-b'], reply.json()]).toEqual([
    500,
    undefined,
    { errorType: 'TypeError', errorMessage: 'Invalid character in header content ["x-a"]' },
  ]);
});

test('a handler of node’s shape gets node’s own request and reply, of a call that came before it was loaded too', async () => {
  await using fn = await Bootstrap.start({
    files: {
      'index.mjs': `import { IncomingMessage, ServerResponse } from 'node:http';
        export default (request, response) =>
          response.end(String(request instanceof IncomingMessage && response instanceof ServerResponse))`,
    },
  });
  await fn.health();
  await using raw = new Raw(fn);
  await raw.send('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
  await fn.claim();
  await eventually(() => expect(raw.received).toMatch(/true/));
  expect((await fn.request('/')).text()).toBe('true');
});
