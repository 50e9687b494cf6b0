import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import {
  ACK,
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  type FrameClient,
  frameClient,
  HEADERS,
  PING,
  request,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './support/frames.ts';
import { type Platform, startPlatform } from './support/platform.ts';

let platform: Platform;
let seen: string[];
/** Names of the last request's fields. */
let names: string[];
let opened: number;

beforeAll(async () => {
  platform = await startPlatform({}, { patience: { head: 500, idle: 1000, body: 1000, linger: 300 } });
  await platform.run({ name: 'raw', concurrency: 50 }, (incoming, response) => {
    let body = '';
    names = incoming.rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
    incoming.on('data', (chunk: Buffer) => void (body += chunk.toString('latin1')));
    incoming.on('end', () => {
      seen.push(`${incoming.method} ${incoming.url} [${body}]`);
      response.end('ok');
    });
  });
  await platform.run({ name: 'wait', concurrency: 1000, timeout: '2s' }, (incoming) => {
    opened++;
    incoming.resume().on('error', () => {});
  });
  await platform.run({ name: 'large', concurrency: 1000, timeout: '1s' }, (_incoming, response) => {
    response.end(Buffer.alloc(300_000));
  });
});
afterAll(() => platform[Symbol.asyncDispose]());
beforeEach(() => {
  seen = [];
  opened = 0;
});

async function isServed(): Promise<void> {
  const reply = await fetch(`${platform.url}/function/raw/others`);
  expect([reply.status, await reply.text()]).toEqual([200, 'ok']);
}

type Fields = readonly (readonly [string, string])[];

/** What became of the stream: a status, a reset, or the end of the connection. */
async function outcomeOf(client: FrameClient, stream: number): Promise<'refused' | 'served'> {
  return eventually(() => {
    const frames = client.frames.filter((one) => one.stream === stream);
    if (client.closed() || client.goaway() !== undefined) return 'refused';
    if (frames.some(({ type }) => type === RST_STREAM)) return 'refused';
    const data = frames.find(({ type }) => type === DATA);
    if (!data) throw new Error('no answer yet');
    return data.payload.toString().includes('"status":400') ? 'refused' : 'served';
  });
}

/** Requests that would become two, or another one, if they were written down as HTTP/1.1 as they are. */
const MALFORMED: Readonly<Record<string, Fields>> = {
  'Transfer-Encoding': request('/function/raw', 'POST', [['transfer-encoding', 'chunked']]),
  Connection: request('/function/raw', 'POST', [['connection', 'x-a']]),
  'Upgrade to h2c': request('/function/raw', 'GET', [['upgrade', 'h2c']]),
  'Keep-Alive': request('/function/raw', 'GET', [['keep-alive', 'timeout=5']]),
  'TE other than trailers': request('/function/raw', 'GET', [['te', 'gzip']]),
  'a shorter Content-Length': request('/function/raw', 'POST', [['content-length', '2']]),
  'a longer Content-Length': request('/function/raw', 'POST', [['content-length', '200']]),
  'two Content-Lengths': request('/function/raw', 'POST', [
    ['content-length', '26'],
    ['content-length', '0'],
  ]),
  'a Content-Length that is none': request('/function/raw', 'POST', [['content-length', '+26']]),
  'a name in capitals': request('/function/raw', 'POST', [['X-A', 'b']]),
  'CRLF in :path': request('/function/raw HTTP/1.1\r\nhost: b\r\n\r\nGET /evil', 'POST'),
  'a blank in :path': request('/function/raw HTTP/1.1', 'POST'),
  'no :path': request('', 'POST'),
  'an absolute :path': request('http://b/function/raw', 'POST'),
  'an asterisk for POST': request('*', 'POST'),
  'CRLF in :method': request('/function/raw', 'POST / HTTP/1.1\r\nx: y'),
  'a blank in :method': request('/function/raw', 'POST /evil'),
  'another :scheme': request('/function/raw', 'POST').map(
    ([k, v]) => [k, k === ':scheme' ? 'http://b/x?' : v] as const,
  ),
  'CRLF in :authority': request('/function/raw', 'POST').map(
    ([k, v]) => [k, k === ':authority' ? 'a\r\nx-b: c' : v] as const,
  ),
  'user information in :authority': request('/function/raw', 'POST').map(
    ([k, v]) => [k, k === ':authority' ? 'u@a' : v] as const,
  ),
  'a path in :authority': request('/function/raw', 'POST').map(
    ([k, v]) => [k, k === ':authority' ? 'a/b' : v] as const,
  ),
  'no :authority and no Host': request('/function/raw', 'POST').filter(([k]) => k !== ':authority'),
  'a Host that is not :authority': request('/function/raw', 'POST', [['host', 'b']]),
  'two Hosts': request('/function/raw', 'POST', [
    ['host', 'a'],
    ['host', 'a'],
  ]),
  'two :paths': [...request('/function/raw', 'POST').slice(0, 3), [':path', '/evil'], [':authority', 'a']],
  'a pseudo-field after a field': [
    ...request('/function/raw', 'POST', [['x-a', 'b']]).slice(0, 3),
    ['x-a', 'b'],
    [':authority', 'a'],
  ],
  'an unknown pseudo-field': [[':evil', 'x'], ...request('/function/raw', 'POST')],
  'a :status': [[':status', '200'], ...request('/function/raw', 'POST')],
};

/** Fields that cannot be written down: nghttp2 drops them by themselves. */
const DROPPED: Readonly<Record<string, Fields>> = {
  'CRLF in a value': request('/function/raw', 'POST', [['x-a', 'b\r\ntransfer-encoding: chunked']]),
  'LF in a value': request('/function/raw', 'POST', [['x-a', 'b\nx-fn-attempt: 1']]),
  'NUL in a value': request('/function/raw', 'POST', [['x-a', 'b\0c']]),
  'CRLF in a name': request('/function/raw', 'POST', [['x-a: b\r\nx-c', 'd']]),
  'a colon in a name': request('/function/raw', 'POST', [['x:a', 'd']]),
  'a blank in a name': request('/function/raw', 'POST', [['transfer-encoding ', 'chunked']]),
  'an empty name': request('/function/raw', 'POST', [['', 'b']]),
};

describe('a malformed request over HTTP/2', () => {
  it.each(Object.entries(MALFORMED))('is refused and reaches no function: %s', async (_name, fields) => {
    await using client = await frameClient(platform.port);
    const body = 'GET /function/raw/smuggled HTTP/1.1\r\nHost: a\r\n\r\n'.slice(0, 26);
    await client.send(frame(HEADERS, END_HEADERS, 1, block(fields)), frame(DATA, END_STREAM, 1, Buffer.from(body)));
    expect(await outcomeOf(client, 1)).toBe('refused');
    await isServed();
    expect(seen).toEqual(['GET /others []']);
  });

  it.each(Object.entries(DROPPED))('loses a field that no line can hold: %s', async (_name, fields) => {
    await using client = await frameClient(platform.port);
    const body = '0\r\n\r\nGET /evil';
    await client.send(frame(HEADERS, END_HEADERS, 1, block(fields)), frame(DATA, END_STREAM, 1, Buffer.from(body)));
    expect(await outcomeOf(client, 1)).toBe('served');
    expect(seen).toEqual([`POST / [${body}]`]);
    const expected = ['host', 'transfer-encoding', 'traceparent', 'x-request-id', 'x-fn-deadline', 'forwarded'];
    expect(names.filter((name) => !name.startsWith('x-forwarded-')).sort()).toEqual(expected.sort());
  });

  it('has one reading when it is odd: a body that looks like a request stays a body', async () => {
    await using client = await frameClient(platform.port);
    const smuggled = 'GET /function/raw/smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
    const bodies = ['0\r\n\r\n', smuggled, `0\r\n\r\n${smuggled}`];
    let stream = 1;
    for (const body of bodies) {
      for (const more of [[], [['content-length', String(body.length)]]] as const) {
        const head = frame(HEADERS, END_HEADERS, stream, block(request('/function/raw/odd', 'POST', more)));
        await client.send(head, frame(DATA, END_STREAM, stream, Buffer.from(body)));
        expect(await outcomeOf(client, stream)).toBe('served');
        stream += 2;
      }
    }
    expect(seen).toEqual(bodies.flatMap((body) => [`POST /odd [${body}]`, `POST /odd [${body}]`]));
  });

  it('with framing in its trailers is refused', async () => {
    await using client = await frameClient(platform.port);
    const head = frame(HEADERS, END_HEADERS, 1, block(request('/function/raw', 'POST')));
    await client.send(head, frame(DATA, 0, 1, Buffer.from('x')));
    await client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block([['content-length', '5']])));
    expect(await outcomeOf(client, 1)).toBe('refused');
    expect(seen).toEqual([]);
  });

  it('with a head over the limit is refused', async () => {
    await using client = await frameClient(platform.port);
    const large = request('/function/raw', 'GET', [['x-a', 'a'.repeat(15_900)]]);
    await client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(large)));
    await eventually(() =>
      expect(client.frames.some(({ type, stream }) => type === HEADERS && stream === 1)).toBe(true),
    );
    const many = request(
      '/function/raw',
      'GET',
      Array.from({ length: 130 }, () => ['a', '1'] as const),
    );
    await client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, block(many)));
    expect(await outcomeOf(client, 3)).toBe('refused');
    expect(seen).toEqual([]);
  });
});

describe('a hostile connection of HTTP/2', () => {
  /** Sends rounds until the gateway ends the connection; how many it took. */
  async function untilEnded(client: FrameClient, rounds: number, round: (n: number) => Buffer): Promise<number> {
    for (let n = 0; n < rounds; n++) {
      if (!(await client.send(round(n)))) return n;
      if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (client.goaway() !== undefined) return n;
    }
    await eventually(() => expect(client.goaway() ?? (client.closed() ? -1 : undefined)).toBeDefined());
    return rounds;
  }
  const get = block(request('/function/wait'));

  it.each<[string, string, number, number[], number]>([
    ['opens and resets streams', 'CVE-2023-44487', RST_STREAM, [0, 0, 0, 8], 2000],
    ['makes us reset its streams', 'CVE-2025-8671', WINDOW_UPDATE, [0, 0, 0, 0], 3000],
  ])('that %s is ended (%s)', async (_what, _cve, second, payload, most) => {
    await using client = await frameClient(platform.port);
    await untilEnded(client, 20_000, (n) =>
      Buffer.concat([frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, get), frame(second, 0, 2 * n + 1, payload)]),
    );
    expect(opened).toBeLessThan(most);
    await isServed();
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('that opens more streams than it may gets them refused, then is ended', async () => {
    await using client = await frameClient(platform.port);
    await untilEnded(client, 5000, (n) => frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, get));
    expect(opened).toBeLessThanOrEqual(100);
    await isServed();
  });

  it('that sends CONTINUATION without end is ended (CVE-2024-28182)', async () => {
    await using client = await frameClient(platform.port);
    await client.send(frame(HEADERS, 0, 1, block(request('/function/raw'))));
    const more = block([['x-a', 'a'.repeat(1000)]]);
    expect(await untilEnded(client, 10_000, () => frame(CONTINUATION, 0, 1, more))).toBeLessThan(1000);
    await isServed();
    expect(seen).toEqual(['GET /others []']);
  });

  it.each([
    ['PING', frame(PING, 0, 0, Buffer.alloc(8))],
    ['SETTINGS', frame(SETTINGS, 0, 0)],
  ])('that sends %s without reading the answers is ended (CVE-2019-9512, 9515)', async (_name, flood) => {
    await using client = await frameClient(platform.port);
    client.socket.pause();
    const many = Buffer.concat(Array.from({ length: 1000 }, () => flood));
    let sent = 0;
    for (; sent < 20_000 && !client.closed(); sent++) {
      const gone = await Promise.race([
        client.send(many).then((isOpen) => !isOpen),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 1000)), // It reads no more of it.
      ]);
      if (gone) break;
    }
    expect(sent).toBeLessThan(20_000);
    await isServed();
  });

  it('that begins a head and never ends it is closed for being idle', async () => {
    await using client = await frameClient(platform.port);
    await client.send(frame(HEADERS, 0, 1, block(request('/function/raw'))));
    await eventually(() => expect(client.closed()).toBe(true));
    expect(seen).toEqual([]);
  });

  it('whose body stops half-way is told so, and the function is released', async () => {
    await using client = await frameClient(platform.port);
    const head = frame(HEADERS, END_HEADERS, 1, block(request('/function/raw', 'POST', [['content-length', '100']])));
    await client.send(head, frame(DATA, 0, 1, Buffer.from('half')));
    await eventually(() => expect(client.frames.some(({ type, stream }) => type === DATA && stream === 1)).toBe(true));
    const reply = client.frames.find(({ type }) => type === DATA)!.payload.toString();
    expect(reply).toContain('"code":"request.timeout"');
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('that gives no window for its replies loses them, and holds nothing for ever', async () => {
    await using client = await frameClient(platform.port);
    await client.send(frame(SETTINGS, 0, 0, [0, 4, 0, 0, 0, 0])); // INITIAL_WINDOW_SIZE 0
    await eventually(() =>
      expect(client.frames.some(({ type, flags }) => type === SETTINGS && flags === ACK)).toBe(true),
    );
    for (let n = 0; n < 50; n++) {
      const path = n % 2 === 0 ? '/function/large' : '/healthz';
      await client.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, block(request(path))));
    }
    await eventually(() => expect(client.frames.filter(({ type }) => type === RST_STREAM)).toHaveLength(50));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
    await isServed();
  });
});
