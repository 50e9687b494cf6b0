import { request as httpRequest } from 'node:http';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

const head = (line: string, fields = ''): string => `${line} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const CLOSE = 'Connection: close\r\n';

describe('what passes to the function', () => {
  it('keeps repeated fields, cookies, case, order and blanks as they came', async () => {
    await using platform = await startPlatform();
    let raw = '';
    const instance = await platform.serveRaw('raw', (socket) => {
      socket.on('data', (chunk: Buffer) => {
        raw += chunk.toString('latin1');
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const fields = 'Cookie: a=1\r\ncookie:   b=2\t\r\nACCEPT: x\r\nx-EMPTY:\r\nX-Latin: caf\xe9\r\nAccept: y\r\n';
    await using client = await wire(platform.port);
    client.send(head('GET /function/raw/p', fields));
    await client.until(/\r\n\r\n/);
    expect(raw).toContain(`GET /p HTTP/1.1\r\nHost: a\r\n${fields}`);
  });

  it('carries a deadline, a request id, a trace and who the client is', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'meta', timeout: '5s' }, (request, response) =>
      response.end(JSON.stringify(request.headers)),
    );
    const before = Date.now();
    const reply = await fetch(`${platform.url}/function/meta`);
    const seen = (await reply.json()) as Record<string, string>;
    expect(Number(seen['x-fn-deadline'])).toBeGreaterThanOrEqual(before + 5000);
    expect(Number(seen['x-fn-deadline'])).toBeLessThanOrEqual(Date.now() + 5000);
    expect(seen['x-request-id']).toBe(reply.headers.get('x-request-id'));
    expect(seen['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(seen['x-forwarded-for']).toBe('127.0.0.1');
    expect(seen['forwarded']).toBe(`for=127.0.0.1;proto=http;host="127.0.0.1:${platform.port}"`);
  });

  it('keeps a valid traceparent and replaces one that is not', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'meta' }, (request, response) => response.end(JSON.stringify(request.headers)));
    const ask = async (traceparent: string): Promise<Record<string, string>> => {
      const headers = { traceparent, tracestate: 'a=1' };
      return (await (await fetch(`${platform.url}/function/meta`, { headers })).json()) as Record<string, string>;
    };
    const valid = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00';
    expect(await ask(valid)).toMatchObject({ traceparent: valid, tracestate: 'a=1' });
    const replaced = await ask('00-00000000000000000000000000000000-00f067aa0ba902b7-00');
    expect(replaced['traceparent']).not.toContain('f067aa0ba902b7');
    expect(replaced).not.toHaveProperty('tracestate');
  });

  it('replaces a request id that does not belong in a log line', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'meta' }, (request, response) => response.end(request.headers['x-request-id']));
    const reply = await fetch(`${platform.url}/function/meta`, { headers: { 'x-request-id': 'a "quoted" one' } });
    expect(await reply.text()).toMatch(/^[0-9a-f]{24}$/);
  });

  it('includes the trailers of a chunked body', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'trail' }, (request, response) => {
      request.resume().on('end', () => response.end(JSON.stringify(request.trailers)));
    });
    const body = '5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Fn-Queue: forged\r\n\r\n';
    const reply = await exchange(
      platform.port,
      head('POST /function/trail', `${CLOSE}Transfer-Encoding: chunked\r\n`) + body,
    );
    expect(reply).toContain('{"x-sum":"1"}');
  });
});

describe('what comes back', () => {
  it('keeps the status, the reason, repeated fields and cookies as they came', async () => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => {
      socket.on('data', () =>
        socket.write(
          'HTTP/1.1 299 Rather Fine\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Fn-Start: forged\r\nX-A:  1 \r\n' +
            'Keep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi',
        ),
      );
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const reply = await exchange(platform.port, head('GET /function/raw', CLOSE));
    expect(reply).toMatch(/^HTTP\/1\.1 299 Rather Fine\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-A: {2}1 \r\n/);
    expect(reply).not.toMatch(/forged|keep-alive|x-hop/i);
    expect(reply).toMatch(/\r\ndate: /);
    expect(reply).toMatch(/\r\n\r\nhi$/);
  });

  it('has the usual reason where the function gives none', async () => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n'));
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    expect(await exchange(platform.port, head('GET /function/raw', CLOSE))).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
  });

  it('of HEAD has the length and no body, and the connection goes on', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'page' }, (_request, response) => response.setHeader('content-length', 5).end('hello'));
    const reply = await exchange(platform.port, head('HEAD /function/page') + head('GET /function/page', CLOSE));
    expect(reply).toMatch(/content-length: 5\r\n[^]*\r\n\r\nHTTP\/1\.1 200 OK[^]*\r\n\r\nhello$/);
  });

  it.each([
    ['HTTP/1.1 204 No Content\r\n\r\n', /^HTTP\/1\.1 204 (?:(?!content-length)[^])*?\r\n\r\nHTTP\/1\.1 200 OK/],
    [
      'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1\.1 204 (?:(?!content-length)[^])*?\r\n\r\nHTTP\/1\.1 200/,
    ],
    [
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: "x"\r\n\r\n',
      /^HTTP\/1\.1 304 [^]*?\r\n\r\nHTTP\/1\.1 200 OK/,
    ],
    ['HTTP/1.1 304 Not Modified\r\n\r\n', /^HTTP\/1\.1 304 [^]*?\r\n\r\nHTTP\/1\.1 200 OK/],
  ])('that never has a body ends with its head: %j', async (bytes, expected) => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => void socket.on('data', () => socket.write(bytes)));
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const text = await exchange(platform.port, head('GET /function/raw') + head('GET /healthz', CLOSE));
    expect(text).toMatch(expected);
  });

  it('includes interim replies, and only the 100 that was asked for', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'early' }, (_request, response) => {
      response.writeContinue();
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.end('done');
    });
    const reply = await exchange(platform.port, head('GET /function/early', CLOSE));
    expect(reply).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK/);
  });

  it('includes the trailers of a chunked reply', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'trail' }, (_request, response) => {
      response.writeHead(200, { trailer: 'x-sum' });
      response.write('hello');
      response.addTrailers({ 'x-sum': '1' });
      response.end();
    });
    const reply = await exchange(platform.port, head('GET /function/trail', CLOSE));
    expect(reply).toMatch(/transfer-encoding: chunked[^]*\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n$/);
  });

  it('without a length ends with its connection, and is chunked for the client', async () => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => {
      socket.on('data', () => socket.end('HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold style'));
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const reply = await exchange(platform.port, head('GET /function/raw') + head('GET /healthz', CLOSE));
    expect(reply).toMatch(/transfer-encoding: chunked[^]*\r\n\r\n9\r\nold style\r\n0\r\n\r\nHTTP\/1\.1 200/);
  });

  it('to an HTTP/1.0 client is never chunked, and its connection closes', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'stream' }, (_request, response) => {
      response.write('one');
      response.end('two');
    });
    const reply = await exchange(platform.port, 'GET /function/stream HTTP/1.0\r\n\r\n');
    expect(reply).toMatch(/\r\nconnection: close\r\n\r\nonetwo$/);
    expect(reply).not.toMatch(/chunked/);
  });

  it('keeps an HTTP/1.0 connection open when asked to', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'ten' }, (_request, response) => response.end('10'));
    await using client = await wire(platform.port);
    client.send('GET /function/ten HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    expect(await client.until(/10$/)).toMatch(/\r\nconnection: keep-alive\r\n/);
    client.send('GET /function/ten HTTP/1.0\r\n\r\n');
    expect(await client.end()).toMatch(/\r\n\r\n10HTTP\/1\.1 200 OK[^]*\r\n\r\n10$/);
  });
});

describe('Expect: 100-continue', () => {
  it('asks the function, and the body follows its word', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'expects' }, (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => void (body += chunk.toString()));
      request.on('end', () => response.end(`got ${body}`));
    });
    const request = httpRequest(`${platform.url}/function/expects`, {
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': 5 },
    });
    request.flushHeaders();
    await once(request, 'continue');
    request.end('hello');
    const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage];
    let text = '';
    for await (const chunk of response) text += String(chunk);
    expect(text).toBe('got hello');
  });

  it('lets a refusal come before the body, and closes the connection after it', async () => {
    await using platform = await startPlatform();
    const fields = 'Expect: 100-continue\r\nContent-Length: 5\r\n';
    const reply = await exchange(platform.port, head('POST /function/nobody', fields));
    expect(reply).toMatch(/^HTTP\/1\.1 404 [^]*connection: close/);
  });
});

describe('a malformed reply', () => {
  it.each([
    ['no status line', 'hello\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['another version', 'HTTP/2 200 OK\r\n\r\n'],
    ['both lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
    ['bare LFs', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'],
    ['a bare CR', 'HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\n\r\n'],
    ['a folded header', 'HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\n\r\n'],
    ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'],
    ['a bad first chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'X-A: 1\r\n'.repeat(10_000)}`],
  ])('is 502, not passed on: %s', async (_name, bytes) => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => void socket.on('data', () => socket.write(bytes)));
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const reply = await fetch(`${platform.url}/function/raw`);
    expect(reply.status).toBe(502);
    expect(reply.headers.get('x-fn-error')).toBe('function.bad_reply');
  });

  it('after its head cuts the client off', async () => {
    await using platform = await startPlatform();
    const instance = await platform.serveRaw('raw', (socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
        setTimeout(() => socket.write('nonsense\r\n'), 20);
      });
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    const reply = await fetch(`${platform.url}/function/raw`);
    expect(reply.status).toBe(200);
    await expect(reply.text()).rejects.toThrow('terminated');
  });

  it('with more than it promised is cut to it, and its connection not used again', async () => {
    await using platform = await startPlatform();
    let connections = 0;
    const instance = await platform.serveRaw('raw', (socket) => {
      connections++;
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n'));
    });
    await platform.route(instance, await platform.deploy({ name: 'raw' }));
    for (let i = 0; i < 3; i++) expect(await (await fetch(`${platform.url}/function/raw`)).text()).toBe('ok');
    expect(connections).toBe(3);
  });
});
