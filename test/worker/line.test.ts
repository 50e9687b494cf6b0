/** Requests to a sandbox's socket, where what answers may be foreign code. */

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Line, TimeoutError } from '../../worker/sandbox/line.ts';

const WITHIN = 20_000;
const REPLY = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"one":1}';

/** A server that hands each request, as text, to `answer`. */
async function serve(answer: (socket: Socket, request: string) => void): Promise<AsyncDisposable & { path: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'fnl-'));
  const path = join(directory, 's');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.on('data', (chunk) => answer(socket, String(chunk)));
  });
  await once(server.listen(path), 'listening');
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true });
    },
  };
}

test('two requests go over one connection, one after the other', async () => {
  const seen = new Set<Socket>();
  const requests: string[] = [];
  await using server = await serve((socket, request) => {
    seen.add(socket);
    requests.push(request);
    socket.write(REPLY);
  });
  using line = new Line(server.path);
  expect(await line.ask('GET', '/health', undefined, WITHIN)).toEqual({ status: 200, body: { one: 1 } });
  expect(await line.ask('POST', '/claim', { a: 'ü' }, WITHIN)).toEqual({ status: 200, body: { one: 1 } });
  expect(seen.size).toBe(1);
  expect(requests[0]).toMatch(/^GET \/health HTTP\/1\.1\r\n[^]*content-length: 0\r\n\r\n$/);
  expect(requests[1]).toMatch(/^POST \/claim HTTP\/1\.1\r\n[^]*content-length: 10\r\n\r\n\{"a":"ü"\}$/);
});

test('a reply may come in pieces', async () => {
  await using server = await serve((socket) => {
    for (const letter of REPLY) socket.write(letter);
  });
  using line = new Line(server.path);
  expect((await line.ask('GET', '/', undefined, WITHIN)).status).toBe(200);
});

test.each([
  ['not HTTP', 'hello\r\n\r\n', 'not HTTP'],
  ['without a length', 'HTTP/1.1 200 OK\r\n\r\n{}', 'does not say its length'],
  ['not JSON', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n!!', 'not a JSON object'],
  ['JSON, but not an object', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1', 'not a JSON object'],
  ['longer than it says', `${REPLY}${REPLY}`, 'longer than it says'],
  ['larger than the bound', 'x'.repeat(70_000), 'over 65536 bytes'],
])('a reply that is %s is refused, and the line is closed', async (_, reply, problem) => {
  await using server = await serve((socket) => socket.write(reply));
  using line = new Line(server.path);
  await expect(line.ask('GET', '/', undefined, WITHIN)).rejects.toThrow(problem);
  expect(line.open).toBe(false);
  await expect(line.ask('GET', '/', undefined, WITHIN)).rejects.toThrow(problem);
});

test('a connection that ends before its reply is complete fails the request', async () => {
  await using server = await serve((socket) => socket.end(REPLY.slice(0, -1)));
  using line = new Line(server.path);
  await expect(line.ask('GET', '/', undefined, WITHIN)).rejects.toThrow('before the reply was complete');
});

test('what nobody asked for closes the line', async () => {
  let other: Socket | undefined;
  await using server = await serve((socket) => (other = socket).write(REPLY));
  using line = new Line(server.path);
  await line.ask('GET', '/', undefined, WITHIN);
  const closed = once(other!, 'close');
  other!.write(REPLY);
  await closed;
  expect(line.open).toBe(false);
});

test('no reply within the time given is an error of its own', async () => {
  await using server = await serve(() => {});
  using line = new Line(server.path);
  await expect(line.ask('GET', '/', undefined, 5)).rejects.toThrow(TimeoutError);
});

test('nobody listens', async () => {
  using line = new Line(join(tmpdir(), 'fn-nobody-listens-here'));
  await expect(line.ask('GET', '/', undefined, WITHIN)).rejects.toThrow('ENOENT');
});
