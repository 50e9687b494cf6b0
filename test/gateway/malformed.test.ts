import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Platform, startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

/** Requests of which two readers could make two things, or none. `§` stands for the request line and a Host. */
const REFUSED: Readonly<Record<string, string>> = {
  'Content-Length then Transfer-Encoding': '§Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'Transfer-Encoding then Content-Length': '§Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
  'two different Content-Lengths': '§Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
  'two equal Content-Lengths': '§Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello',
  'a Content-Length list': '§Content-Length: 5, 5\r\n\r\nhello',
  'a Content-Length with a sign': '§Content-Length: +5\r\n\r\nhello',
  'a negative Content-Length': '§Content-Length: -5\r\n\r\nhello',
  'a hexadecimal Content-Length': '§Content-Length: 0x5\r\n\r\nhello',
  'an empty Content-Length': '§Content-Length:\r\n\r\nhello',
  'a Content-Length with a blank inside': '§Content-Length: 1 1\r\n\r\nhello',
  'a Content-Length beyond 2^53': '§Content-Length: 99999999999999999999\r\n\r\nhello',
  'a fractional Content-Length': '§Content-Length: 5.0\r\n\r\nhello',
  'an unknown coding': '§Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
  'chunked, identity': '§Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
  'identity, chunked': '§Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n',
  'gzip, chunked': '§Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'two Transfer-Encodings': '§Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'two Transfer-Encodings, one unknown': '§Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n',
  'a quoted coding': '§Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
  'a coding with a parameter': '§Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n',
  'a coding behind a vertical tab': '§Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n',
  'an empty coding': '§Transfer-Encoding:\r\n\r\n0\r\n\r\n',
  'a folded coding': '§Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n',
  'a space before the colon': '§Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n',
  'a tab before the colon': '§Content-Length\t: 5\r\n\r\nhello',
  'a folded header': '§X-A: 1\r\n 2\r\n\r\n',
  'a line that begins with a blank': 'POST /function/raw HTTP/1.1\r\n Host: a\r\n\r\n',
  'a line without a colon': '§nonsense\r\n\r\n',
  'an empty name': '§: value\r\n\r\n',
  'a name with a slash': '§X/A: 1\r\n\r\n',
  'a name with a byte above ASCII': '§X-\xe9: 1\r\n\r\n',
  'a bare LF after the request line': 'POST /function/raw HTTP/1.1\nHost: a\r\n\r\n',
  'bare LFs all through': 'POST /function/raw HTTP/1.1\nHost: a\n\n',
  'a bare LF between headers': '§X-A: 1\nX-B: 2\r\n\r\n',
  'a bare CR in a value': '§X-A: 1\rX-B: 2\r\n\r\n',
  'a bare CR at the end of a line': '§X-A: 1\r\r\n\r\n',
  'NUL in a value': '§X-A: a\0b\r\n\r\n',
  'NUL in the target': 'GET /function/raw/\0 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a control character in the target': 'GET /function/raw/\x01 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a byte above ASCII in the target': 'GET /function/raw/\xe9 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a fragment in the target': 'GET /function/raw#x HTTP/1.1\r\nHost: a\r\n\r\n',
  'a % without its digits': 'GET /function/raw/%zz HTTP/1.1\r\nHost: a\r\n\r\n',
  'two spaces before the target': 'GET  /function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'two spaces before the version': 'GET /function/raw  HTTP/1.1\r\nHost: a\r\n\r\n',
  'a tab in the request line': 'GET\t/function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'no version (HTTP/0.9)': 'GET /function/raw\r\n\r\n',
  'HTTP/1.2': 'GET /function/raw HTTP/1.2\r\nHost: a\r\n\r\n',
  'HTTP/2.0': 'GET /function/raw HTTP/2.0\r\nHost: a\r\n\r\n',
  'http/1.1 in lower case': 'GET /function/raw http/1.1\r\nHost: a\r\n\r\n',
  'HTTP/01.1': 'GET /function/raw HTTP/01.1\r\nHost: a\r\n\r\n',
  'the preface of HTTP/2 with a field': 'PRI * HTTP/2.0\r\nHost: a\r\n\r\nSM\r\n\r\n',
  'a method in lower case': 'get /function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'a method with a control character': 'GE\x00T /function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'a relative target': 'GET function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'an asterisk for GET': 'GET * HTTP/1.1\r\nHost: a\r\n\r\n',
  'another scheme': 'GET ftp://a/function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'user information in the target': 'GET http://u:p@a/function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
  'no Host': 'GET /function/raw HTTP/1.1\r\n\r\n',
  'two Hosts': '§Host: b\r\n\r\n',
  'an empty Host': 'GET /function/raw HTTP/1.1\r\nHost:\r\n\r\n',
  'a Host with user information': 'GET /function/raw HTTP/1.1\r\nHost: a@b\r\n\r\n',
  'a Host with a path': 'GET /function/raw HTTP/1.1\r\nHost: a/b\r\n\r\n',
  'a Host with a blank': 'GET /function/raw HTTP/1.1\r\nHost: a b\r\n\r\n',
  'a Host list': 'GET /function/raw HTTP/1.1\r\nHost: a, b\r\n\r\n',
  'Transfer-Encoding in HTTP/1.0': 'POST /function/raw HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a chunk size with 0x': '§Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n',
  'a chunk size with a sign': '§Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n',
  'a negative chunk size': '§Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n',
  'an empty chunk size': '§Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n',
  'a blank before a chunk size': '§Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n',
  'a blank after a chunk size': '§Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n',
  'a huge chunk size': '§Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n',
  'a chunk longer than its size': '§Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n',
  'a bare LF after a chunk size': '§Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n',
  'a bare LF after a chunk': '§Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n',
  'a bare CR after a chunk size': '§Transfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n',
  'a bare LF in a chunk extension': '§Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n',
  'NUL in a chunk extension': '§Transfer-Encoding: chunked\r\n\r\n5;\0\r\nhello\r\n0\r\n\r\n',
  'a flood of chunk extensions': `§Transfer-Encoding: chunked\r\n\r\n5;${'a'.repeat(5000)}\r\nhello\r\n0\r\n\r\n`,
  'a framing field in a trailer': '§Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n',
  'a bare LF in a trailer': '§Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\n\r\n',
  'a folded trailer': '§Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\r\n 2\r\n\r\n',
  'a flood of trailers': `§Transfer-Encoding: chunked\r\n\r\n0\r\n${'X-A: 1\r\n'.repeat(2000)}\r\n`,
  'a head of 17 kB': `§X-A: ${'a'.repeat(17_000)}\r\n\r\n`,
  'a head of 1 MiB': `§X-A: ${'a'.repeat(2 ** 20)}\r\n\r\n`,
  'a target of 64 kB': `GET /function/raw/${'a'.repeat(65_536)} HTTP/1.1\r\nHost: a\r\n\r\n`,
  '1500 headers': `§${'A: 1\r\n'.repeat(1500)}\r\n`,
  '129 headers': `§${'A: 1\r\n'.repeat(128)}\r\n`,
  'something that is not HTTP': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
};

const LINE = 'POST /function/raw HTTP/1.1\r\nHost: a\r\n';

describe('a malformed request', () => {
  let platform: Platform;
  let seen: string[];

  beforeAll(async () => {
    platform = await startPlatform();
    seen = [];
    await platform.run({ name: 'raw' }, (request, response) => {
      request.resume().on('end', () => {
        seen.push(`${request.method} ${request.url}`);
        response.end('ok');
      });
    });
  });
  afterAll(() => platform[Symbol.asyncDispose]());

  it.each(Object.entries(REFUSED))('is refused and reaches no function: %s', async (_name, payload) => {
    seen.length = 0;
    const follow = 'GET /function/raw/smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
    const reply = await exchange(platform.port, payload.replace('§', LINE) + follow);
    expect(reply).toMatch(/^HTTP\/1\.1 (?:400|408|413|431) /);
    expect(reply.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(reply).toContain('connection: close');
    expect(reply).toContain('content-type: application/problem+json');
    expect(seen).toEqual([]);
  });

  it('is refused as well when its bytes come one by one', async () => {
    seen.length = 0;
    const payloads = ['a bare LF between headers', 'a chunk longer than its size', 'a framing field in a trailer'];
    for (const name of payloads) {
      await using client = await wire(platform.port);
      client.socket.setNoDelay(true);
      for (const byte of REFUSED[name]!.replace('§', LINE)) {
        client.send(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await client.end()).toMatch(/^HTTP\/1\.1 400 /);
    }
    expect(seen).toEqual([]);
  });

  it('leaves the gateway and the function unharmed', async () => {
    seen.length = 0;
    const reply = await fetch(`${platform.url}/function/raw/fine`, { method: 'POST', body: 'x' });
    expect(await reply.text()).toBe('ok');
    expect(seen).toEqual(['POST /fine']);
  });
});

/** Requests that look odd and have exactly one reading. */
const ACCEPTED: Readonly<Record<string, { bytes: string; seen: string; fields?: Record<string, string | undefined> }>> =
  {
    'an empty line before the request': {
      bytes: '\r\nGET /function/raw HTTP/1.1\r\nHost: a\r\n\r\n',
      seen: 'GET / []',
    },
    'an absolute target, whose host counts': {
      bytes: 'GET http://b.example/function/raw/x HTTP/1.1\r\nHost: a\r\n\r\n',
      seen: 'GET /x []',
      fields: { host: 'b.example' },
    },
    'a GET with a body': {
      bytes: 'GET /function/raw HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
      seen: 'GET / [hello]',
    },
    'chunks with extensions, which are dropped': {
      bytes: `${LINE}Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n`,
      seen: 'POST / [hello]',
    },
    'chunk sizes in capitals with leading zeros': {
      bytes: `${LINE}Transfer-Encoding: CHUNKED\r\n\r\n000A\r\nhellohello\r\n00\r\n\r\n`,
      seen: 'POST / [hellohello]',
    },
    'an h2c upgrade, which is not taken up': {
      bytes: `GET /function/raw HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n`,
      seen: 'GET / []',
      fields: { upgrade: undefined, 'http2-settings': undefined },
    },
    'header names that only resemble ours': {
      bytes: `${LINE}Content_Length: 9\r\nX_Fn_Attempt: 3\r\nX_Forwarded_For: 6.6.6.6\r\nContent-Length: 2\r\n\r\nhi`,
      seen: 'POST / [hi]',
      fields: { content_length: undefined, x_fn_attempt: undefined, x_forwarded_for: undefined },
    },
    'a client that claims to be the platform': {
      bytes: `${LINE}X-Fn-Queue: q\r\nX-Fn-Deadline: 1\r\nx-fn-anything: 1\r\nContent-Length: 0\r\n\r\n`,
      seen: 'POST / []',
      fields: { 'x-fn-queue': undefined, 'x-fn-anything': undefined },
    },
    'a client that claims to be someone else': {
      bytes: `${LINE}X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nContent-Length: 0\r\n\r\n`,
      seen: 'POST / []',
      fields: {
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-host': 'a',
        'x-forwarded-proto': 'http',
        'x-real-ip': undefined,
        forwarded: 'for=127.0.0.1;proto=http;host="a"',
      },
    },
    'fields named in Connection, which end here': {
      bytes: `${LINE}Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nProxy: http://evil\r\nProxy-Authorization: x\r\nContent-Length: 0\r\n\r\n`,
      seen: 'POST / []',
      fields: {
        'x-hop': undefined,
        'keep-alive': undefined,
        te: undefined,
        proxy: undefined,
      },
    },
    'Connection naming what must not be taken away': {
      bytes: `${LINE}Connection: Host, Content-Length, Content-Type\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi`,
      seen: 'POST / [hi]',
      fields: { host: 'a', 'content-type': 'text/plain' },
    },
    'encoded slashes and dots, left as they came': {
      bytes: 'GET /function/raw/a%2f..%2F%00/../%2e%2e/b?c=%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n',
      seen: 'GET /a%2f..%2F%00/../%2e%2e/b?c=%0d%0a []',
    },
    'HTTP/1.0 without Host': { bytes: 'GET /function/raw HTTP/1.0\r\n\r\n', seen: 'GET / []' },
  };

describe('an odd but unambiguous request', () => {
  it.each(Object.entries(ACCEPTED))('reaches the function as exactly one: %s', async (_name, expected) => {
    await using platform = await startPlatform();
    const seen: string[] = [];
    let headers: Record<string, unknown> = {};
    await platform.run({ name: 'raw' }, (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => void (body += chunk.toString()));
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} [${body}]`);
        headers = request.headers;
        response.end('ok');
      });
    });
    await using client = await wire(platform.port);
    client.send(expected.bytes);
    expect(await client.until(/ok$/)).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen).toEqual([expected.seen]);
    const fields = expected.fields ?? {};
    expect(Object.fromEntries(Object.keys(fields).map((name) => [name, headers[name]]))).toEqual(fields);
  });
});

/** Ways to say a name, or a host, that some reader would take for a function's. None of them is. */
const NOT_RAW: Readonly<Record<string, readonly [target: string, host: string]>> = {
  'an encoded letter in the name': ['/function/%72aw', 'a'],
  'an encoded slash before the name': ['/function%2fraw', 'a'],
  'an encoded slash in the name': ['/function/x%2f..%2fraw', 'a'],
  'an encoded NUL after the name': ['/function/raw%00', 'a'],
  'dots that lead to it': ['/function/x/../raw', 'a'],
  'encoded dots that lead to it': ['/function/x/%2e%2e/raw', 'a'],
  'two slashes before the name': ['/function//raw', 'a'],
  'a backslash': ['/function\\raw', 'a'],
  'the name in capitals': ['/function/RAW', 'a'],
  'a parameter of the path': ['/function/raw;x', 'a'],
  'the platform’s own pages': ['/_fn/metrics', 'a'],
  'the platform’s own pages of a function': ['/_fn/routes/raw', 'localhost'],
  'a host that begins like one': ['/', 'raw.localhost.evil'],
  'a host that ends like one': ['/x', 'rawlocalhost'],
  'an encoded dot in the host': ['/x', 'raw%2elocalhost'],
  'a host in front of one': ['/x', 'evil.raw.localhost'],
  'a port that is none': ['/x', 'raw.localhost:99999999'],
  'an empty name in the host': ['/x', '.localhost'],
};

describe('a target or Host that only resembles a function’s', () => {
  it.each(Object.entries(NOT_RAW))('reaches nothing: %s', async (_name, [target, host]) => {
    await using platform = await startPlatform();
    let called = 0;
    await platform.run({ name: 'raw' }, (_request, response) => {
      called++;
      response.end('ok');
    });
    const reply = await exchange(platform.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(reply).toMatch(/^HTTP\/1\.1 (?:400|404|200 OK\r\ncontent-type: text\/plain; charset=utf-8\r\n)/);
    expect(reply).not.toContain('fn_');
    expect(called).toBe(0);
  });
});

/** CL.0: an end that does not read the body must not leave it to be read as the next request. */
describe('a body that nobody reads', () => {
  const smuggled = 'GET /function/raw/smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
  const post = (path: string): string =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`;

  it.each(['/function/raw', '/healthz', '/nowhere', '/function/absent', '/', '/async/raw'])(
    'is never the next request: %s',
    async (path) => {
      await using platform = await startPlatform();
      const seen: string[] = [];
      await platform.run({ name: 'raw' }, (request, response) => {
        seen.push(`${request.method} ${request.url}`);
        response.end('early'); // The body is not read.
      });
      await using client = await wire(platform.port);
      client.send(`${post(path)}GET /function/raw/next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      await client.end();
      expect(seen).not.toContain('GET /smuggled');
      expect(client.received().match(/HTTP\/1\.1 \d/g)!.length).toBeLessThanOrEqual(2);
    },
  );

  it('is not taken for a request by the function’s server either, when it comes late', async () => {
    await using platform = await startPlatform();
    const seen: string[] = [];
    await platform.run({ name: 'raw' }, (request, response) => {
      seen.push(`${request.method} ${request.url}`);
      response.end('early');
    });
    await using client = await wire(platform.port);
    client.send(post('/function/raw').slice(0, -smuggled.length));
    await client.until(/early/);
    client.send(smuggled);
    await client.end();
    expect(await (await fetch(`${platform.url}/function/raw/next`)).text()).toBe('early');
    expect(seen).toEqual(['POST /', 'GET /next']);
  });
});
