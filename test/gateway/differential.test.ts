import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { Millis } from '../../core/units.ts';
import { lacks, skipBecause } from '../support/requires.ts';
import { startNginx } from './support/nginx.ts';
import { startPlatform } from './support/platform.ts';
import { type Random, randomSource } from './support/random.ts';
import { wire } from './support/wire.ts';

/** Requests sent through both; FN_DIFFERENTIAL=20000 for the long run. */
const ROUNDS = Number(process.env['FN_DIFFERENTIAL'] ?? 1500);
const SEED = Number(process.env['FN_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'];
const PATHS = ['/x', '/a/b', '/%2e%2e/x', '/a%2Fb', '/a?b=c&d=%20', '/?', '/a;b', '/a//b', "/!$&'()*+,;=:@", '/"<>'];
const FIELDS = [
  'X-A: 1\r\n',
  'x-a:2\r\n',
  'X-B:  padded \t\r\n',
  'X-B:\r\n',
  'Cookie: a=1\r\n',
  'Cookie: b=2\r\n',
  'Content-Type: text/plain\r\n',
  'Connection: keep-alive\r\n',
  'X-B: caf\xe9\r\n',
  'Accept: */*\r\n',
  'Upgrade: h2c\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 3\r\n',
  'Content-Length: 0\r\n',
  'X-A : 1\r\n',
  'X-A: 1\r\n folded\r\n',
  'X-A: 1\n',
  'X-A\r\n',
  'X-A: \0\r\n',
];

function body(random: Random): { field: string; bytes: string } {
  const payload = 'abc'.repeat(random.below(20));
  const kind = random.below(4);
  if (kind === 0) return { field: '', bytes: '' };
  if (kind === 1) return { field: `Content-Length: ${payload.length}\r\n`, bytes: payload };
  const size = random.chance(0.5) ? payload.length.toString(16).toUpperCase() : `0${payload.length.toString(16)}`;
  const extension = random.chance(0.2) ? ';a=b' : '';
  const chunk = payload === '' ? '' : `${size}${extension}\r\n${payload}\r\n`;
  return { field: 'Transfer-Encoding: chunked\r\n', bytes: `${chunk}0\r\n\r\n` };
}

/** Mostly proper, sometimes spoilt. */
function request(random: Random): string {
  const { field, bytes } = body(random);
  let fields = '';
  for (let n = random.below(4); n > 0; n--) fields += FIELDS[random.below(random.chance(0.8) ? 10 : FIELDS.length)];
  const head = `${random.pick(METHODS)} /raw${random.pick(PATHS)} HTTP/1.1\r\nHost: a\r\n${fields}${field}\r\n`;
  const text = head + bytes;
  if (random.chance(0.85)) return text;
  const at = random.below(text.length);
  return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + random.below(2));
}

/** White space to us and to RFC 9110 section 5.6.3; nginx takes the tab for a part of the value, and refuses. */
const TAB_AROUND_VALUE = /\r\n(?:host|content-length|transfer-encoding|connection):(?: *\t|[^\r]*\t *\r)/i;

/** Spoilt into a request for the gateway's own page. */
const FOR_US = /^[A-Z]+ \/[? ]/;

const FOLLOW = 'GET /raw/follow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

/** What the function saw of a request, as one line. */
function recorder() {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
    request.on('end', () => {
      const { 'x-a': a, 'x-b': b, cookie, 'content-type': type, accept } = request.headers;
      seen.push(JSON.stringify([request.method, request.url, request.headers.host, a, b, cookie, type, accept, text]));
      response.end('ok');
    });
  });
  return { seen, server };
}

/** How long a server may say nothing before it counts as done. What differs is sent again with more patience: on a busy
 *  machine a server may not have come to it, and what is a difference stays one. */
const QUIET: readonly Millis[] = [150, 1000, 5000];

/** Sends and waits until the server closes, or says nothing more for so long. */
async function send(port: number, bytes: string, quiet: Millis): Promise<string> {
  await using client = await wire(port);
  client.send(bytes);
  const ended = client.end();
  for (let before = -1; client.received().length > before;) {
    before = client.received().length;
    const isOver = await Promise.race([
      ended.then(() => true),
      new Promise<false>((resolve) => setTimeout(() => resolve(false), quiet)),
    ]);
    if (isOver) break;
  }
  return client.received();
}

describe.skipIf(skipBecause(lacks('nginx')))('beside nginx', () => {
  it(`the function sees the same of ${ROUNDS} generated requests, or we refuse them`, async () => {
    await using platform = await startPlatform();
    const ours = recorder();
    const theirs = recorder();
    const instance = await platform.serveRaw('raw', (socket) => void ours.server.emit('connection', socket));
    const spec = { name: 'raw', concurrency: 10, triggers: [{ http: { path: '/*' } }] };
    await platform.route(instance, await platform.deploy(spec), 10);
    const behind = await platform.serveRaw('nginx', (socket) => void theirs.server.emit('connection', socket));
    await using nginx = await startNginx(platform.config.home, behind.socket);

    const random = randomSource(SEED);
    const tally = { same: 0, refusedByBoth: 0, refusedByUs: 0, refusedByNginx: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = request(random);
      if (FOR_US.test(bytes)) continue;
      let difference = '';
      for (const quiet of QUIET) {
        ours.seen.length = 0;
        theirs.seen.length = 0;
        const to = (port: number): Promise<string> => send(port, bytes + FOLLOW, quiet);
        const [ourReply] = await Promise.all([to(platform.port), to(nginx.port)]);
        const us = JSON.stringify(ours.seen);
        const them = JSON.stringify(theirs.seen);
        difference = '';
        if (us === them) tally[ours.seen.length === 0 ? 'refusedByBoth' : 'same']++;
        else if (ours.seen.length === 0 && ourReply.startsWith('HTTP/1.1 4')) tally.refusedByUs++;
        else if (theirs.seen.length === 0 && TAB_AROUND_VALUE.test(bytes)) tally.refusedByNginx++;
        else difference = `us:    ${us}\nnginx: ${them}\n${ourReply}`;
        if (difference === '') break;
      }
      if (difference !== '') throw new Error(`seed ${SEED}: ${JSON.stringify(bytes)}\n${difference}`);
    }
    expect(tally.same).toBeGreaterThan(ROUNDS / 3);
  }, 600_000);
});
