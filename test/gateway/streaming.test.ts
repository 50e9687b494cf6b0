import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { describe, expect, it } from 'vitest';
import { atRest, eventually } from '../support/eventually.ts';
import { startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

const sha = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

describe('streaming', () => {
  it('the first bytes of a reply arrive before its last are written', async () => {
    await using platform = await startPlatform();
    let finish = (): void => {};
    await platform.run({ name: 'stream' }, (_request, response) => {
      response.write('first');
      finish = () => response.end('last');
    });
    await using client = await wire(platform.port);
    client.send('GET /function/stream HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/first/);
    finish();
    expect(await client.until(/last\r\n0\r\n\r\n/)).toMatch(/\r\n\r\n5\r\nfirst\r\n4\r\nlast/);
  });

  it('a body and its reply flow at the same time', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'echo' }, (request, response) => request.pipe(response));
    await using client = await wire(platform.port);
    client.send('POST /function/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (const word of ['one', 'two', 'three']) {
      client.send(`${word.length}\r\n${word}\r\n`);
      await client.until(new RegExp(`${word}\r\n`));
    }
    client.send('0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.until(/"ok"/)).toMatch(/three\r\n0\r\n\r\nHTTP\/1\.1 200 OK/);
  });

  it.each(['content-length', 'chunked'])('16 MiB come back byte for byte (%s)', async (framing) => {
    await using platform = await startPlatform();
    await platform.run({ name: 'echo' }, (request, response) => {
      if (framing === 'content-length') response.setHeader('content-length', request.headers['content-length'] ?? 0);
      request.pipe(response);
    });
    const body = randomBytes(16 * 2 ** 20);
    const request = httpRequest(`${platform.url}/function/echo`, { method: 'POST' });
    if (framing === 'content-length') request.setHeader('content-length', body.length);
    const replied = once(request, 'response');
    for (let at = 0; at < body.length; at += 100_003) {
      if (!request.write(body.subarray(at, at + 100_003))) await Promise.race([once(request, 'drain'), replied]);
    }
    request.end();
    const [response] = (await replied) as [import('node:http').IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    expect(sha(Buffer.concat(chunks))).toBe(sha(body));
  });

  it('a function that writes faster than its client reads is held back', async () => {
    await using platform = await startPlatform();
    let written = 0;
    await platform.run({ name: 'flood' }, (_request, response) => {
      const piece = Buffer.alloc(64 * 1024);
      const pump = (): void => {
        let more = true;
        while (more && !response.destroyed) {
          more = response.write(piece);
          written += piece.length;
        }
      };
      response.on('drain', pump);
      pump();
    });
    await using client = await wire(platform.port);
    client.socket.pause();
    client.send('GET /function/flood HTTP/1.1\r\nHost: a\r\n\r\n');
    const before = await atRest(() => written);
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(24 * 2 ** 20); // The kernel's socket buffers, three times over.
    client.socket.resume();
    await eventually(() => expect(written).toBeGreaterThan(before));
  });

  it('a client that sends faster than its function reads is held back', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'sink' }, (request) => void request.pause());
    await using client = await wire(platform.port);
    client.send('POST /function/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n');
    const piece = Buffer.alloc(64 * 1024);
    const accepted = await atRest(() => {
      for (let i = 0; i < 1000 && client.socket.write(piece); i++);
      return client.socket.bytesWritten - client.socket.writableLength;
    });
    expect(accepted).toBeLessThan(24 * 2 ** 20);
  });

  it('a body waits with its request while an instance starts, without being read in whole', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'cold' });
    const { promise, resolve } = Promise.withResolvers<void>();
    const instance = await platform.serve('cold', (request, response) => {
      let bytes = 0;
      request.on('data', (chunk: Buffer) => void (bytes += chunk.length));
      request.on('end', () => response.end(String(bytes)));
    });
    platform.worker.acquire = async () => {
      await promise;
      return platform.routable(instance, revision);
    };
    const body = Buffer.alloc(20 * 2 ** 20, 'x');
    const asked = fetch(`${platform.url}/function/cold`, { method: 'POST', body });
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    resolve();
    expect(await (await asked).text()).toBe(String(body.length));
  });

  it('many small chunks pass in any division', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'echo' }, (request, response) => request.pipe(response));
    await using client = await wire(platform.port);
    client.socket.setNoDelay(true);
    const text = 'The quick brown fox jumps over the lazy dog. '.repeat(20);
    const chunked = Array.from(text, (char) => `1\r\n${char}\r\n`).join('');
    client.send('POST /function/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let at = 0; at < chunked.length; at += 7) {
      client.send(chunked.slice(at, at + 7));
      if (at % 70 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    client.send('0\r\n\r\n');
    const reply = await client.end();
    const body = reply.slice(reply.indexOf('\r\n\r\n') + 4);
    const decoded = body.replace(/([0-9a-f]+)\r\n([^]*?)\r\n/g, (_all, size: string, piece: string) =>
      piece.slice(0, Number.parseInt(size, 16)),
    );
    expect(decoded.trim()).toBe(text.trim());
  });
});

describe('the body limit', () => {
  it('refuses a longer Content-Length before the function hears of it', async () => {
    await using platform = await startPlatform({ FN_BODY_LIMIT: '1000' });
    let requests = 0;
    await platform.run({ name: 'small' }, () => void requests++);
    const reply = await fetch(`${platform.url}/function/small`, { method: 'POST', body: 'x'.repeat(1001) });
    expect(reply.status).toBe(413);
    expect(reply.headers.get('x-fn-error')).toBe('body.too_large');
    expect(requests).toBe(0);
  });

  it('ends a chunked body that passes it', async () => {
    await using platform = await startPlatform({ FN_BODY_LIMIT: '1000' });
    await platform.run({ name: 'small' }, (request) => void request.on('error', () => {}).resume());
    await using client = await wire(platform.port);
    client.send('POST /function/small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let i = 0; i < 11; i++) client.send(`64\r\n${'x'.repeat(100)}\r\n`);
    expect(await client.end()).toMatch(/^HTTP\/1\.1 413 /);
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('lets a client that sends on read its answer', async () => {
    await using platform = await startPlatform({ FN_BODY_LIMIT: '1000' });
    const reply = await fetch(`${platform.url}/function/none`, { method: 'POST', body: Buffer.alloc(4 * 2 ** 20) });
    expect(reply.status).toBe(413);
  });
});
