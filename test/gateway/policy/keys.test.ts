import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FunctionName } from '../../../core/ids.ts';
import { newKey } from '../../../core/keys.ts';
import type { KeyRecord } from '../../../core/records.ts';
import { listenUnix } from '../../../core/sockets.ts';
import { startRedis } from '../../support/redis.ts';
import { connectRedis, waitForRedis } from '../../../core/redis.ts';
import { type Platform, startPlatform } from '../support/platform.ts';
import { exchange } from '../support/wire.ts';
import { runMirror, statusOf as statusWith } from './mirror.ts';

const CLOSE = 'Connection: close\r\n';

/** Writes a key as the control API does; returns its text. */
async function addKey(platform: Platform, name: string, more: Partial<KeyRecord> = {}): Promise<string> {
  const { text, id, hash } = newKey();
  await platform.store.put('key', name, { name, id, hash, createdAt: Date.now(), ...more });
  await new Promise((resolve) => setImmediate(resolve));
  return text;
}

const statusOf = (url: string, headers: Record<string, string> = {}): Promise<number> => statusWith(url, { headers });

describe('auth: key', () => {
  it('lets through who sends a key, in either field, and tells the function only its name', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const key = await addKey(platform, 'shop');
    for (const [field, value] of [
      ['authorization', `Bearer ${key}`],
      ['Authorization', `bearer  ${key}`],
      ['x-api-key', key],
    ] as const) {
      const reply = await fetch(`${platform.url}/function/shut/a`, { headers: { [field]: value } });
      expect(reply.status).toBe(200);
      const text = await reply.text();
      expect(text).not.toContain(key);
      expect(JSON.parse(text)).toMatchObject({ url: '/a', headers: { 'x-fn-key-name': 'shop' } });
    }
  });

  it('passes Authorization on when the key came in X-Api-Key', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const key = await addKey(platform, 'shop');
    const reply = await fetch(`${platform.url}/function/shut`, {
      headers: { 'x-api-key': key, authorization: 'Basic eDp5' },
    });
    expect(await reply.json()).toMatchObject({ headers: { authorization: 'Basic eDp5' } });
  });

  it('is 401 without a key, saying how to get one, and the function never hears of it', async () => {
    await using platform = await startPlatform();
    let calls = 0;
    await platform.run({ name: 'shut', auth: 'key' }, (_, response) => response.end(String(++calls)));
    for (const [headers, code] of [
      [{}, 'key.required'],
      [{ authorization: 'Basic eDp5' }, 'key.required'],
      [{ authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.' }, 'key.invalid'],
      [{ 'x-api-key': newKey().text }, 'key.invalid'],
      [{ 'x-api-key': '' }, 'key.invalid'],
    ] as const) {
      const reply = await fetch(`${platform.url}/function/shut`, { headers });
      expect(reply.status).toBe(401);
      expect(reply.headers.get('www-authenticate')).toBe('Bearer realm="shut"');
      expect(await reply.json()).toMatchObject({ code, hint: expect.stringContaining('fn key create') });
    }
    expect(calls).toBe(0);
    expect(await platform.gateway.metricsText()).toContain('fn_policy_refusals_total{function="shut",policy="auth"} 5');
  });

  it('refuses a key whose secret is another, one character off', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const key = await addKey(platform, 'shop');
    const off = `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`;
    expect(await statusOf(`${platform.url}/function/shut`, { 'x-api-key': off })).toBe(401);
    expect(await statusOf(`${platform.url}/function/shut`, { 'x-api-key': `${key}A` })).toBe(401);
    expect(await statusOf(`${platform.url}/function/shut`, { 'x-api-key': key })).toBe(200);
  });

  it('is 403 for a key of other functions, and 401 for one that has expired', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const other = await addKey(platform, 'other', { functions: ['elsewhere' as FunctionName] });
    const own = await addKey(platform, 'own', { functions: ['elsewhere', 'shut'] as FunctionName[] });
    const old = await addKey(platform, 'old', { expiresAt: Date.now() - 1 });
    const url = `${platform.url}/function/shut`;
    expect(await statusOf(url, { 'x-api-key': other })).toBe(403);
    expect(await statusOf(url, { 'x-api-key': own })).toBe(200);
    expect(await statusOf(url, { 'x-api-key': old })).toBe(401);
  });

  it('holds for every way in: name, host, path and async, but not for the internal socket', async () => {
    await using redis = await startRedis();
    const connection = connectRedis(redis.config, 'failFast');
    await waitForRedis(connection, 10_000);
    {
      await using platform = await startPlatform({ FN_DOMAIN: 'test' }, { redis: connection });
      await runMirror(platform, { name: 'shut', auth: 'key', triggers: [{ http: { path: '/here/*' } }] });
      const key = await addKey(platform, 'shop');
      const ask = (line: string, host: string, more = ''): Promise<string> =>
        exchange(platform.port, `${line} HTTP/1.1\r\nHost: ${host}\r\n${more}${CLOSE}\r\n`);
      for (const [line, host] of [
        ['GET /function/shut', 'a'],
        ['GET /', 'shut.test'],
        ['GET /here/x', 'a'],
        ['POST /async/shut', 'a'],
        ['GET /function/shut@1', 'a'],
        ['GET /', '1.shut.test'],
      ] as const) {
        expect(await ask(line, host)).toMatch(/^HTTP\/1.1 401 /);
        expect(await ask(line, host, `X-Api-Key: ${key}\r\n`)).toMatch(/^HTTP\/1.1 20[02] /);
      }
      const internal = join(platform.config.home, 'i.sock');
      await platform.gateway.listenTrusted(listenUnix(internal));
      const field = 'X-Fn-Key-Name: shop\r\n';
      const job = await exchange(internal, `POST /function/shut HTTP/1.1\r\nHost: a\r\n${field}${CLOSE}\r\n`);
      expect(job).toMatch(/^HTTP\/1.1 200 [^]*"x-fn-key-name":"shop"/);
    }
    connection.disconnect();
  });

  it('of an http trigger alone closes the other ways too', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', triggers: [{ http: { path: '/here', auth: 'key' } }] });
    expect(await statusOf(`${platform.url}/here`)).toBe(401);
    expect(await statusOf(`${platform.url}/function/shut`)).toBe(401);
  });

  it('is replaced by an http trigger for its path', async () => {
    await using platform = await startPlatform();
    const triggers = [{ http: { path: '/open', auth: 'none' as const } }, { http: { path: '/shut' } }];
    await runMirror(platform, { name: 'half', auth: 'key', triggers });
    expect(await statusOf(`${platform.url}/open`)).toBe(200);
    expect(await statusOf(`${platform.url}/shut`)).toBe(401);
    expect(await statusOf(`${platform.url}/function/half`)).toBe(401);
  });

  it('takes no name of a key from a client', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    await runMirror(platform, { name: 'open' });
    const key = await addKey(platform, 'shop');
    const spoofed = 'X-Fn-Key-Name: admin\r\nX_Fn_Key_Name: admin\r\n';
    for (const name of ['open', 'shut']) {
      const text = await exchange(
        platform.port,
        `GET /function/${name} HTTP/1.1\r\nHost: a\r\nX-Api-Key: ${key}\r\n${spoofed}${CLOSE}\r\n`,
      );
      expect(text).toMatch(/^HTTP\/1.1 200 /);
      expect(text).not.toContain('admin');
    }
  });

  it('refuses a request with two keys', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const key = await addKey(platform, 'shop');
    const line = `X-Api-Key: ${key}\r\n`;
    const text = await exchange(platform.port, `GET /function/shut HTTP/1.1\r\nHost: a\r\n${line}${line}${CLOSE}\r\n`);
    expect(text).toMatch(/^HTTP\/1.1 401 /);
  });

  it('knows of a new key and a revoked one by the change stream', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    const key = await addKey(platform, 'shop');
    const url = `${platform.url}/function/shut`;
    expect(await statusOf(url, { 'x-api-key': key })).toBe(200);
    await platform.store.delete('key', 'shop');
    await new Promise((resolve) => setImmediate(resolve));
    expect(await statusOf(url, { 'x-api-key': key })).toBe(401);
  });

  it('leaves the body readable, so that the connection goes on', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    await runMirror(platform, { name: 'open' });
    const text = await exchange(
      platform.port,
      `POST /function/shut HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxxGET /function/open HTTP/1.1\r\nHost: a\r\n${CLOSE}\r\n`,
    );
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200']);
    expect(text.match(/www-authenticate/g)).toHaveLength(1);
  });

  it('forgets the refusals of a function that is no more', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'shut', auth: 'key' });
    expect(await statusOf(`${platform.url}/function/shut`)).toBe(401);
    await platform.store.delete('function', 'shut');
    await new Promise((resolve) => setImmediate(resolve));
    expect(await platform.gateway.metricsText()).not.toContain('function="shut"');
  });
});
