import { describe, expect, it } from 'vitest';
import { startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

const CLOSE = 'Connection: close\r\n';

describe('an invocation', () => {
  it('passes method, path, query, headers and body, and brings the reply back', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'echo' }, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => void chunks.push(chunk));
      request.on('end', () => {
        const { method, url, rawHeaders } = request;
        response.writeHead(201, { 'content-type': 'application/json', 'x-mine': 'yes' });
        response.end(JSON.stringify({ method, url, rawHeaders, body: Buffer.concat(chunks).toString() }));
      });
    });
    const reply = await fetch(`${platform.url}/function/echo/a/b%2Fc?x=1&x=2`, {
      method: 'POST',
      body: 'hello',
      headers: { 'x-custom': 'kept', 'x-request-id': 'mine-1' },
    });
    expect(reply.status).toBe(201);
    expect(reply.headers.get('x-mine')).toBe('yes');
    expect(reply.headers.get('x-request-id')).toBe('mine-1');
    expect(reply.headers.get('x-fn-start')).toBe('warm;ms=0');
    const seen = (await reply.json()) as { method: string; url: string; rawHeaders: string[]; body: string };
    expect(seen).toMatchObject({ method: 'POST', url: '/a/b%2Fc?x=1&x=2', body: 'hello' });
    expect(seen.rawHeaders).toContain('x-custom');
  });

  it('is at the path "/" when nothing follows the name', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'path' }, (request, response) => response.end(request.url));
    expect(await (await fetch(`${platform.url}/function/path`)).text()).toBe('/');
    expect(await (await fetch(`${platform.url}/function/path?q`)).text()).toBe('/?q');
    expect(await (await fetch(`${platform.url}/function/path/`)).text()).toBe('/');
  });

  it('of a function that does not exist is 404 in the one shape', async () => {
    await using platform = await startPlatform();
    const reply = await fetch(`${platform.url}/function/nobody`);
    expect(reply.status).toBe(404);
    expect(reply.headers.get('content-type')).toBe('application/problem+json');
    expect(reply.headers.get('x-fn-error')).toBe('function.not_found');
    expect(await reply.json()).toMatchObject({ code: 'function.not_found', status: 404, component: 'gateway' });
  });

  it('of a function without a ready revision is 503', async () => {
    await using platform = await startPlatform();
    const now = Date.now();
    const record = { name: 'soon' as never, traffic: [], latest: 1, createdAt: now, updatedAt: now };
    await platform.store.put('function', 'soon', record);
    const reply = await fetch(`${platform.url}/function/soon`);
    expect(reply.status).toBe(503);
    expect(reply.headers.get('x-fn-error')).toBe('function.not_ready');
  });

  it('answers pipelined requests in order on one connection', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'order' }, (request, response) => {
      setTimeout(() => response.end(`<${request.url}>`), request.url === '/1' ? 30 : 0);
    });
    const requests = [1, 2, 3].map(
      (n) => `GET /function/order/${n} HTTP/1.1\r\nHost: a\r\n${n === 3 ? CLOSE : ''}\r\n`,
    );
    const text = await exchange(platform.port, requests.join(''));
    expect(text.match(/<\/\d>/g)).toEqual(['</1>', '</2>', '</3>']);
    expect(text.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
  });

  it('keeps the connection after an error that leaves the request readable', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    client.send('GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/route\.not_found"[^]*\n$/);
    client.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.until(/"ok"/)).toContain('HTTP/1.1 200 OK');
  });
});
