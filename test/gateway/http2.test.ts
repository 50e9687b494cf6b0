import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { constants } from 'node:http2';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { listenTcp, listenUnix } from '../../core/sockets.ts';
import { Certificate } from '../../gateway/certificate.ts';
import { atRest, eventually } from '../support/eventually.ts';
import { lacks, skipBecause } from '../support/requires.ts';
import { makeCertificate } from './support/certificates.ts';
import { http2Client, replyOf } from './support/http2.ts';
import { type Platform, startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

const run = promisify(execFile);

/** Says what it saw. */
async function runEcho(platform: Platform, name = 'echo'): Promise<void> {
  await platform.run({ name, concurrency: 100 }, (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (chunk: Buffer) => void pieces.push(chunk));
    request.on('end', () => {
      const { method, url, rawHeaders, trailers } = request;
      response.setHeader('content-type', 'application/json');
      response.setHeader('set-cookie', ['a=1', 'b=2']);
      response.end(
        JSON.stringify({ method, url, rawHeaders, trailers, body: Buffer.concat(pieces).toString('latin1') }),
      );
    });
  });
}

describe('HTTP/2 by prior knowledge', () => {
  it('carries many requests at once on one connection', async () => {
    await using platform = await startPlatform();
    await runEcho(platform);
    await using client = await http2Client(platform.url);
    const replies = await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        client.send({ ':path': `/function/echo/${n}?q=%2f`, ':method': 'POST' }, `body ${n}`),
      ),
    );
    for (const [n, { status, body, headers }] of replies.entries()) {
      const seen = JSON.parse(body.toString()) as { method: string; url: string; body: string };
      expect([status, seen.method, seen.url, seen.body]).toEqual([200, 'POST', `/${n}?q=%2f`, `body ${n}`]);
      expect(headers['set-cookie']).toEqual(['a=1', 'b=2']);
      expect(headers['x-fn-start']).toMatch(/ms=/);
    }
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ connections: 1, inFlight: 0 }));
  });

  it('shows the function what HTTP/1.1 would, and no hop of ours', async () => {
    await using platform = await startPlatform();
    await runEcho(platform);
    await using client = await http2Client(platform.url);
    const { body } = await client.send({
      ':path': '/function/echo',
      ':authority': 'shop.example:8080',
      'x-a': ['1', '2'],
      cookie: ['a=1', 'b=2'],
      te: 'trailers',
      'x-forwarded-for': '6.6.6.6',
      'x-fn-attempt': '3',
      'x-b': 'caf\xe9',
    });
    const { rawHeaders } = JSON.parse(body.toString()) as { rawHeaders: string[] };
    const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}`] : []));
    const ours = /^(?:x-request-id|x-fn-deadline|traceparent|connection): /i;
    expect(lines.filter((line) => !ours.test(line))).toEqual([
      'host: shop.example:8080',
      'x-a: 1',
      'x-a: 2',
      'x-b: caf\xe9',
      'cookie: a=1; b=2',
      'x-forwarded-for: 127.0.0.1',
      'x-forwarded-proto: http',
      'x-forwarded-host: shop.example:8080',
      'forwarded: for=127.0.0.1;proto=http;host="shop.example:8080"',
    ]);
  });

  it('routes by :authority', async () => {
    await using platform = await startPlatform();
    await runEcho(platform);
    await using client = await http2Client(platform.url);
    const { status, body } = await client.send({ ':path': '/x', ':authority': 'echo.localhost' });
    expect([status, (JSON.parse(body.toString()) as { url: string }).url]).toEqual([200, '/x']);
  });

  it('keeps the framing of bodies: a length, chunks, or none', async () => {
    await using platform = await startPlatform();
    await runEcho(platform);
    await using client = await http2Client(platform.url);
    const framing = async (headers: object, body?: string): Promise<string[]> => {
      const reply = await client.send({ ':path': '/function/echo', ':method': 'POST', ...headers }, body);
      const { rawHeaders } = JSON.parse(reply.body.toString()) as { rawHeaders: string[] };
      return rawHeaders.flatMap((name, at) =>
        /^(?:content-length|transfer-encoding)$/i.test(name) ? [`${name}: ${rawHeaders[at + 1]}`] : [],
      );
    };
    expect(await framing({ 'content-length': '3' }, 'abc')).toEqual(['content-length: 3']);
    expect(await framing({}, 'abc')).toEqual(['transfer-encoding: chunked']);
    expect(await framing({ ':method': 'GET' })).toEqual([]);
  });

  it('passes trailers both ways, as gRPC needs them', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'rpc' }, (request, response) => {
      request.resume().on('end', () => {
        response.writeHead(200, { trailer: 'grpc-status', 'content-type': 'application/grpc' });
        response.write('message');
        response.addTrailers({ 'grpc-status': '0', 'x-seen': String(request.trailers['x-sum']) });
        response.end();
      });
    });
    await using client = await http2Client(platform.url);
    const stream = client.open({ ':path': '/function/rpc', ':method': 'POST' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
    stream.end('hello');
    const reply = await replyOf(stream);
    expect([reply.status, reply.body.toString(), reply.code]).toEqual([200, 'message', 0]);
    expect(reply.trailers).toMatchObject({ 'grpc-status': '0', 'x-seen': '42' });
  });

  it('knows HEAD, 204, 304, 100 Continue and early hints', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'status' }, (request, response) => {
      if (request.url === '/hints') response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.writeHead(
        Number(/\d+/.exec(request.url ?? '')?.[0] ?? 200),
        request.url === '/204' ? {} : { 'content-length': '2' },
      );
      response.end(request.method === 'HEAD' || /204|304/.test(request.url ?? '') ? undefined : 'ok');
    });
    await using client = await http2Client(platform.url);
    const call = async (path: string, more: object = {}, sent?: string): Promise<unknown[]> => {
      const { status, headers, body, interim, code } = await client.send(
        { ':path': `/function/status${path}`, ...more },
        sent,
      );
      return [status, headers['content-length'], body.toString(), interim, code];
    };
    expect(await call('/', { ':method': 'HEAD' })).toEqual([200, '2', '', [], 0]);
    expect(await call('/204')).toEqual([204, undefined, '', [], 0]);
    expect(await call('/304')).toEqual([304, '2', '', [], 0]);
    expect(await call('/hints')).toEqual([200, '2', 'ok', [103], 0]);
    expect(await call('/', { ':method': 'POST', expect: '100-continue' }, 'x')).toEqual([200, '2', 'ok', [100], 0]);
  });

  it('serves the pages and problems of the gateway as well', async () => {
    await using platform = await startPlatform();
    await using client = await http2Client(platform.url);
    const health = await client.send({ ':path': '/healthz' });
    expect([health.status, health.body.toString()]).toEqual([200, '{"status":"ok"}\n']);
    const absent = await client.send({ ':path': '/function/absent', ':method': 'POST' }, 'x'.repeat(100_000));
    expect([absent.status, absent.headers['content-type']]).toEqual([404, 'application/problem+json']);
    expect(absent.headers['connection']).toBeUndefined();
    const trace = await client.send({ ':path': '/', ':method': 'TRACE' });
    expect(trace.status).toBe(405);
  });

  it('answers before the request is complete, and lets the rest of it go', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'early' }, (_request, response) => response.writeHead(403).end('no'));
    await using client = await http2Client(platform.url);
    const stream = client.open({ ':path': '/function/early', ':method': 'POST' });
    stream.write('beginning');
    const { status, body, code } = await replyOf(stream);
    expect([status, body.toString(), code]).toEqual([403, 'no', constants.NGHTTP2_NO_ERROR]);
    expect((await client.send({ ':path': '/healthz' })).status).toBe(200);
  });

  it('streams both ways with back-pressure, one stream not holding up the others', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'mirror', concurrency: 10 }, (request, response) => void request.pipe(response));
    let received = 0;
    let goOn = (): void => {};
    await platform.run({ name: 'slow', concurrency: 10 }, (request, response) => {
      request.on('data', (chunk: Buffer) => void (received += chunk.length));
      request.pause();
      goOn = (): void => void request.resume();
      request.on('end', () => response.end(String(received)));
    });
    await using client = await http2Client(platform.url, { maxSessionMemory: 100 });
    const size = 8_000_000;
    const stuck = client.open({ ':path': '/function/slow', ':method': 'POST' });
    stuck.end(Buffer.alloc(size, 's'));
    const stuckReply = replyOf(stuck);
    const mirrored = await client.send({ ':path': '/function/mirror', ':method': 'POST' }, Buffer.alloc(size, 'm'));
    expect([mirrored.body.length, mirrored.body.every((byte) => byte === 109)]).toEqual([size, true]);
    expect(received).toBeLessThan(2_000_000);
    goOn();
    expect((await stuckReply).body.toString()).toBe(String(size));
  });

  it('holds back a function whose client does not read', async () => {
    await using platform = await startPlatform();
    let written = 0;
    await platform.run({ name: 'flood' }, (_request, response) => {
      const pump = (): void => {
        do written += 65_536;
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', pump);
      pump();
    });
    await using client = await http2Client(platform.url);
    const stream = client.open({ ':path': '/function/flood' });
    await once(stream, 'response');
    expect(await atRest(() => written)).toBeLessThan(4_000_000);
  });

  it('gives a slow client the end of its reply, however late it is read', async () => {
    await using platform = await startPlatform({}, { patience: { head: 50, linger: 50 } });
    await platform.run({ name: 'large' }, (_request, response) => response.end(Buffer.alloc(100_000)));
    await using client = await http2Client(platform.url);
    const stream = client.open({ ':path': '/function/large' }); // Not read: its window is 64 KiB.
    await once(stream, 'response');
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { body, code } = await replyOf(stream);
    expect([body.length, code]).toEqual([100_000, constants.NGHTTP2_NO_ERROR]);
  });

  it('cancels the work of a stream that is reset, and of a connection that breaks', async () => {
    await using platform = await startPlatform();
    let open = 0;
    await platform.run({ name: 'wait', concurrency: 10 }, (request) => {
      open++;
      request.on('close', () => void open--).on('error', () => {});
    });
    await using client = await http2Client(platform.url);
    const [first, second] = [client.open({ ':path': '/function/wait' }), client.open({ ':path': '/function/wait' })];
    await eventually(() => expect(open).toBe(2));
    first.close(constants.NGHTTP2_CANCEL);
    await eventually(() => expect(open).toBe(1));
    expect(second.closed).toBe(false);
    client.session.destroy();
    await eventually(() => expect(open).toBe(0));
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ connections: 0, inFlight: 0 }));
  });

  it('resets a stream when half a reply is all there is', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'half' }, (_request, response) => {
      response.write('half');
      setTimeout(() => response.socket?.destroy(), 50);
    });
    await using client = await http2Client(platform.url);
    const { body, code } = await client.send({ ':path': '/function/half' });
    expect([body.toString(), code]).toEqual(['half', constants.NGHTTP2_INTERNAL_ERROR]);
    expect((await client.send({ ':path': '/healthz' })).status).toBe(200);
  });

  it('takes the preface in pieces, and refuses what is no frame after it', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    client.socket.setNoDelay(true);
    for (const byte of 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n') {
      client.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => expect(client.received().charCodeAt(3)).toBe(4)); // SETTINGS
    client.send('GET /function/echo HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.end()).not.toContain('HTTP/1.1');
    await eventually(() => expect(platform.gateway.facts()['connections']).toBe(0));
  });

  it('is not spoken on the internal socket, nor after a request of HTTP/1.1', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    client.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    expect(await client.end()).toMatch(/^HTTP\/1.1 200 [^]*HTTP\/1.1 400 /);
    const path = join(platform.config.home, 'i.sock');
    await platform.gateway.listenTrusted(listenUnix(path));
    expect(await exchange(path, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
  });

  it('closes a connection that is idle, but not one with a request', async () => {
    await using platform = await startPlatform({}, { patience: { head: 50, idle: 200, linger: 100 } });
    let answer = (): void => {};
    await platform.run({ name: 'wait' }, (_request, response) => void (answer = () => void response.end('late')));
    await using busy = await http2Client(platform.url);
    const reply = busy.send({ ':path': '/function/wait' });
    await using idle = await http2Client(platform.url);
    await eventually(() => expect(idle.session.destroyed).toBe(true));
    answer();
    expect((await reply).body.toString()).toBe('late');
    await eventually(() => expect(busy.session.destroyed).toBe(true));
  });

  it('says that it ends, answers what it took, and leaves what it did not to be sent again', async () => {
    const platform = await startPlatform();
    try {
      await runEcho(platform);
      let answer = (): void => {};
      await platform.run({ name: 'wait' }, (_request, response) => void (answer = () => void response.end('late')));
      await using client = await http2Client(platform.url);
      const late = client.send({ ':path': '/function/wait' });
      await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(1));
      const ended = platform.gateway.end(10_000);
      // Sent before the client can know.
      const meanwhile = await client.send({ ':path': '/function/echo' });
      expect([meanwhile.status, meanwhile.code]).toEqual([Number.NaN, constants.NGHTTP2_REFUSED_STREAM]);
      answer();
      expect((await late).body.toString()).toBe('late');
      await ended;
      await eventually(() => expect(client.session.destroyed).toBe(true));
    } finally {
      await platform[Symbol.asyncDispose]();
    }
  });
});

describe.skipIf(skipBecause(lacks('curl') ?? lacks('openssl')))('curl', () => {
  it('speaks HTTP/2 with us, in cleartext and over TLS, or HTTP/1.1 when it asks for h2c by Upgrade', async () => {
    await using platform = await startPlatform();
    await runEcho(platform);
    const files = await makeCertificate(platform.config.home, 'one');
    using certificate = new Certificate({ ...files, log: silentLog, metrics: platform.metrics });
    const { fd, port } = await listenTcp('127.0.0.1', 0);
    await platform.gateway.listenTls(fd, certificate);
    const upload = join(platform.config.home, 'upload');
    await writeFile(upload, Buffer.alloc(2_000_000, 'u'));
    const curl = async (...more: string[]): Promise<string[]> => {
      const format = '\n%{http_version} %{http_code}';
      const { stdout } = await run('curl', ['-sS', '--max-time', '20', '-w', format, ...more], { maxBuffer: 2 ** 24 });
      const at = stdout.lastIndexOf('\n');
      const seen = JSON.parse(stdout.slice(0, at)) as { method: string; body: string; rawHeaders: string[] };
      const proto = seen.rawHeaders[seen.rawHeaders.indexOf('x-forwarded-proto') + 1]!;
      return [stdout.slice(at + 1), seen.method, proto, String(seen.body.length)];
    };
    const cleartext = `${platform.url}/function/echo`;
    const secure = `https://localhost:${port}/function/echo`;
    const trusted = ['--cacert', files.certFile];
    expect(await curl('--http2-prior-knowledge', cleartext)).toEqual(['2 200', 'GET', 'http', '0']);
    expect(await curl('--http2-prior-knowledge', '-T', upload, cleartext)).toEqual(['2 200', 'PUT', 'http', '2000000']);
    expect(await curl('--http2', ...trusted, secure)).toEqual(['2 200', 'GET', 'https', '0']);
    expect(await curl('--http2', ...trusted, '-d', 'abc', secure)).toEqual(['2 200', 'POST', 'https', '3']);
    expect(await curl('--http1.1', ...trusted, secure)).toEqual(['1.1 200', 'GET', 'https', '0']);
    expect(await curl('--http2', cleartext)).toEqual(['1.1 200', 'GET', 'http', '0']);
  });
});
