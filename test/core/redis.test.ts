import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../core/config.ts';
import { checkRedisIsSafe, connectRedis, redisOptions, waitForRedis } from '../../core/redis.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

/** Before it is sent, and after: that the connection is gone may be noticed later than the command is written to it. */
const REFUSED = /writeable|closed|max retries per request/i;

let server: TestRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server[Symbol.asyncDispose]());

test.each([
  ['appendonly', 'no', 'without append-only persistence', 'yes'],
  ['maxmemory-policy', 'allkeys-lru', 'evicts keys under pressure (allkeys-lru)', 'noeviction'],
])('a Redis with %s %s is refused, with the command that changes it', async (key, bad, detail, good) => {
  const redis = connectRedis(server.config, 'failFast');
  await waitForRedis(redis, 5000);
  await checkRedisIsSafe(redis);
  await redis.config('SET', key, bad);
  const error = await rejectionOf(checkRedisIsSafe(redis));
  expect(error.code).toBe('redis.unsafe');
  expect(error.message).toContain(detail);
  expect(error.hint).toContain('CONFIG SET');
  await redis.config('SET', key, good);
  redis.disconnect();
});

test('a fail-fast command is refused while Redis is away and is not done when it returns', async () => {
  const redis = connectRedis(server.config, 'failFast');
  await waitForRedis(redis, 5000);
  await server.kill();
  await expect(redis.set('promised', 'yes')).rejects.toThrow(REFUSED);
  await server.start();
  await waitForRedis(redis, 5000);
  expect(await redis.get('promised')).toBeNull();
  redis.disconnect();
});

test('a fail-fast command whose connection breaks is refused, and not sent again over the next one', async () => {
  const path = join(server.config.home, 'link.sock');
  let breaks = false;
  const link = createServer((client) => {
    const onward = connect(join(server.config.home, 'r.sock'));
    client.on('data', (bytes: Buffer) => {
      if (!breaks) onward.write(bytes);
      else {
        breaks = false;
        client.destroy();
      }
    });
    client.on('close', () => onward.destroy());
    onward.on('error', () => {}); // Redis is killed at the end.
    onward.pipe(client);
  });
  await once(link.listen(path), 'listening');
  const redis = connectRedis({ ...server.config, redisUrl: `unix://${path}` }, 'failFast');
  await waitForRedis(redis, 5000);
  breaks = true;
  await expect(redis.set('sent', 'once')).rejects.toThrow(REFUSED);
  await waitForRedis(redis, 5000);
  expect(await redis.get('sent')).toBeNull();
  redis.disconnect();
  link.close();
});

test('a patient command waits until Redis is back', async () => {
  const redis = connectRedis(server.config, 'patient');
  await redis.ping();
  await server.kill();
  const waiting = redis.set('patience', 'pays');
  await server.start();
  expect(await waiting).toBe('OK');
  await eventually(async () => expect(await redis.get('patience')).toBe('pays'));
  redis.disconnect();
});

test('waiting for a Redis that is not there ends', async () => {
  const redis = connectRedis(loadConfig({ REDIS_URL: 'unix:///nonexistent/redis.sock' }), 'failFast');
  expect((await rejectionOf(waitForRedis(redis, 50))).code).toBe('redis.unavailable');
  redis.disconnect();
});

test('REDIS_URL is understood in its usual forms, and refused in others', () => {
  const options = (url: string) => redisOptions(loadConfig({ REDIS_URL: url }), 'failFast');
  expect(options('redis://user:p%40ss@example.com:7000/3')).toMatchObject({
    host: 'example.com',
    port: 7000,
    username: 'user',
    password: 'p@ss',
    db: 3,
  });
  expect(options('rediss://example.com')).toMatchObject({ port: 6379, tls: {} });
  expect(options('unix:///run/redis.sock')).toMatchObject({ path: '/run/redis.sock' });
  for (const url of ['localhost:6379', 'http://localhost', 'nonsense']) {
    expect(thrownBy(() => options(url)).code).toBe('usage.invalid');
  }
});

test('one that is not there is named, with the reason and the setting', async () => {
  const redis = connectRedis(loadConfig({ ...process.env, REDIS_URL: 'redis://127.0.0.1:1' }), 'failFast');
  const error = await rejectionOf(waitForRedis(redis, 50));
  expect(error.message).toContain('Redis at 127.0.0.1:1 did not answer');
  expect(String(error.cause)).toMatch(/ECONNREFUSED/);
  expect(error.hint).toContain('REDIS_URL');
  redis.disconnect();
});
