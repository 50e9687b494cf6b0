import { describe, expect, it } from 'vitest';
import { listenUnix } from '../../../core/sockets.ts';
import { eventually } from '../../support/eventually.ts';
import { startPlatform } from '../support/platform.ts';
import { exchange, wire } from '../support/wire.ts';
import { runMirror, statusOf } from './mirror.ts';

const CLOSE = 'Connection: close\r\n';

describe('allow', () => {
  it('answers 403 to other addresses, and the function never hears of it', async () => {
    await using platform = await startPlatform();
    const calls = await runMirror(platform, { name: 'far', allow: ['192.0.2.0/24', '2001:db8::/32'] });
    await runMirror(platform, { name: 'near', allow: ['192.0.2.1', '127.0.0.0/8'] });
    const reply = await fetch(`${platform.url}/function/far`);
    expect(reply.status).toBe(403);
    expect(await reply.json()).toMatchObject({ code: 'address.refused', detail: 'far takes no calls from 127.0.0.1' });
    expect(calls).toEqual([]);
    expect(await statusOf(`${platform.url}/function/near`)).toBe(200);
    expect(await platform.gateway.metricsText()).toContain('fn_policy_refusals_total{function="far",policy="allow"} 1');
  });

  it('is not for the internal socket', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'far', allow: ['192.0.2.0/24'] });
    const internal = `${platform.config.home}/i.sock`;
    await platform.gateway.listenTrusted(listenUnix(internal));
    expect(await exchange(internal, `GET /function/far HTTP/1.1\r\nHost: a\r\n${CLOSE}\r\n`)).toMatch(
      /^HTTP\/1.1 200 /,
    );
  });
});

describe('bodyLimit', () => {
  it('lets a body of exactly the limit through, whole', async () => {
    await using platform = await startPlatform();
    const calls = await runMirror(platform, { name: 'small', bodyLimit: '100Ki' });
    const body = 'x'.repeat(100 * 1024);
    expect(await statusOf(`${platform.url}/function/small`, { method: 'POST', body })).toBe(200);
    expect(calls[0]?.body).toBe(body);
  });

  it('refuses by the declared length before anything is read', async () => {
    await using platform = await startPlatform();
    const calls = await runMirror(platform, { name: 'small', bodyLimit: '10' });
    await using client = await wire(platform.port);
    client.send('POST /function/small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n');
    expect(await client.end()).toMatch(/^HTTP\/1.1 413 [^]*body\.too_large[^]*over 10 bytes/);
    expect(calls).toEqual([]);
    expect(await platform.gateway.metricsText()).toContain(
      'fn_policy_refusals_total{function="small",policy="body"} 1',
    );
  });

  it('refuses a chunked body once it is over, and the function sees no whole request', async () => {
    await using platform = await startPlatform();
    const calls = await runMirror(platform, { name: 'small', bodyLimit: '10' });
    const text = await exchange(
      platform.port,
      'POST /function/small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n3\r\nabc\r\n0\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1.1 413 /);
    await using client = await wire(platform.port);
    client.send('POST /function/small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n');
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ inFlight: 1 }));
    client.send('3\r\nabc\r\n');
    expect(await client.end()).toMatch(/^HTTP\/1.1 413 /);
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ inFlight: 0 }));
    expect(calls).toEqual([]);
    expect(await statusOf(`${platform.url}/function/small`, { method: 'POST', body: 'ok' })).toBe(200);
  });
});
