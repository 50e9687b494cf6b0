import { describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

describe('a slow client', () => {
  it('that dawdles over its head is told 408 and closed, however many bytes it drips', async () => {
    await using platform = await startPlatform({}, { patience: { head: 200 } });
    await using client = await wire(platform.port);
    client.send('GET /healthz HTTP/1.1\r\n');
    const drip = setInterval(() => client.send('X-A: 1\r\n'), 40);
    const reply = await client.end().finally(() => clearInterval(drip));
    expect(reply).toMatch(/^HTTP\/1\.1 408 [^]*connection: close/);
  });

  it('whose body stops half-way is told 408, and its function is released', async () => {
    await using platform = await startPlatform({}, { patience: { head: 200, body: 200 } });
    await platform.run({ name: 'upload' }, (request) => void request.on('error', () => {}).resume());
    await using client = await wire(platform.port);
    client.send('POST /function/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 408 /);
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('that reads nothing of a long reply loses it after the function’s timeout, and the instance lives', async () => {
    await using platform = await startPlatform();
    let cut = false;
    await platform.run({ name: 'flood', timeout: '300ms' }, (_request, response) => {
      const piece = Buffer.alloc(256 * 1024);
      const pump = (): void => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', pump).on('close', () => void (cut = true));
      pump();
    });
    await using client = await wire(platform.port);
    client.socket.pause();
    client.send('GET /function/flood HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually(() => expect(cut).toBe(true));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
    expect(platform.calls.map(({ call }) => call)).not.toContain('kill');
  });

  it('that says nothing is closed after a while', async () => {
    await using platform = await startPlatform({}, { patience: { head: 100, idle: 200 } });
    await using client = await wire(platform.port);
    expect(await client.end()).toBe('');
  });

  it('that never closes its side is closed after the last word', async () => {
    await using platform = await startPlatform({}, { patience: { head: 100, linger: 200 } });
    await using client = await wire(platform.port);
    client.socket.allowHalfOpen = true;
    client.send('nonsense');
    await client.until(/connection: close/);
    await eventually(() => expect(platform.gateway.facts()['connections']).toBe(0));
  });

  it('leaves service for the others, 500 times over', async () => {
    await using platform = await startPlatform({}, { patience: { head: 400 } });
    await platform.run({ name: 'fine' }, (_request, response) => response.end('ok'));
    const slow = await Promise.all(Array.from({ length: 500 }, () => wire(platform.port)));
    for (const client of slow) client.send('POST /function/fine HTTP/1.1\r\nHost: a\r\nX-Slow');
    for (let i = 0; i < 20; i++) expect(await (await fetch(`${platform.url}/function/fine`)).text()).toBe('ok');
    const replies = await Promise.all(slow.map((client) => client.end()));
    expect(new Set(replies.map((reply) => reply.slice(0, 12)))).toEqual(new Set(['HTTP/1.1 408']));
    await eventually(() => expect(platform.gateway.facts()['connections']).toBeLessThan(5));
  });
});

describe('a client that misbehaves', () => {
  it('and pipelines without reading is held back', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    client.socket.pause();
    const request = 'GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1000);
    let before = -1;
    await eventually(async () => {
      for (let i = 0; i < 200 && client.socket.write(request); i++);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const accepted = client.socket.bytesWritten - client.socket.writableLength;
      const grown = accepted - before;
      before = accepted;
      expect(grown).toBe(0);
    });
    expect(before).toBeLessThan(16 * 2 ** 20);
  });

  it('and asks for 100,000 functions that do not exist leaves no trace of their names', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    let replies = 0;
    client.socket.on(
      'data',
      (chunk: Buffer) => void (replies += chunk.toString('latin1').split('HTTP/1.1 404').length - 1),
    );
    for (let n = 0; n < 100_000; n += 1000) {
      const batch = Array.from({ length: 1000 }, (_, i) => `GET /function/f-${n + i} HTTP/1.1\r\nHost: a\r\n\r\n`);
      client.send(batch.join(''));
      await eventually(() => expect(replies).toBeGreaterThan(n + 900));
    }
    const text = await platform.gateway.metricsText();
    expect(text).not.toContain('f-1');
    expect(text).toMatch(/fn_errors_total\{code="function.not_found"\} \d+/);
  });
});
