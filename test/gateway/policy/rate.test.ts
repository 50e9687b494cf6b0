import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.ts';
import { newKey } from '../../../core/keys.ts';
import { connectRedis, waitForRedis } from '../../../core/redis.ts';
import { Turns } from '../../../gateway/policy/turns.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { startPlatform } from '../support/platform.ts';
import { runMirror, statusOf } from './mirror.ts';

let redis: TestRedis;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis[Symbol.asyncDispose]());

async function connected() {
  const connection = connectRedis(redis.config, 'failFast');
  await waitForRedis(connection, 10_000);
  return Object.assign(connection, { [Symbol.asyncDispose]: async () => connection.disconnect() });
}

const HOUR = 3_600_000_000;

describe('turns', () => {
  it('are as many as the limit, however many gateways ask at once', async () => {
    const connections = await Promise.all(Array.from({ length: 4 }, connected));
    const gateways = connections.map((connection) => new Turns(connection, new VirtualClock()));
    const asked = Array.from({ length: 200 }, (_, index) =>
      gateways[index % 4]!.take('exact', { interval: HOUR / 50, burst: 50 }),
    );
    const turns = await Promise.all(asked);
    expect(turns.filter(({ granted }) => granted)).toHaveLength(50);
    expect(new Set(turns.filter(({ granted }) => granted).map(({ left }) => left)).size).toBe(50);
    expect(turns.find(({ granted }) => !granted)?.waitMs).toBeGreaterThan(0);
    for (const connection of connections) connection.disconnect();
  });

  it('of one caller are not those of another, and are forgotten once all are back', async () => {
    await using connection = await connected();
    const turns = new Turns(connection, new VirtualClock());
    const rate = { interval: 20_000_000, burst: 1 };
    expect((await turns.take('one', rate)).granted).toBe(true);
    expect((await turns.take('one', rate)).granted).toBe(false);
    expect((await turns.take('two', rate)).granted).toBe(true);
    expect(await connection.pttl('fn:rate:one')).toBeLessThanOrEqual(20_000);
    expect(await connection.pttl('fn:rate:one')).toBeGreaterThan(0);
  });

  it('survive that Redis forgets the script', async () => {
    await using connection = await connected();
    const turns = new Turns(connection, new VirtualClock());
    const rate = { interval: HOUR, burst: 2 };
    expect((await turns.take('flush', rate)).left).toBe(1);
    await connection.script('FLUSH');
    expect((await turns.take('flush', rate)).left).toBe(0);
    expect((await turns.take('flush', rate)).granted).toBe(false);
  });

  it('are counted by the gateway itself without Redis, by the same arithmetic', async () => {
    const clock = new VirtualClock();
    const turns = new Turns(undefined, clock);
    const rate = { interval: 100_000, burst: 3 }; // Ten a second, three at once.
    const take = async (): Promise<unknown> => {
      const { granted, left, waitMs } = await turns.take('x', rate);
      return granted ? left : `wait ${waitMs}`;
    };
    expect([await take(), await take(), await take(), await take()]).toEqual([2, 1, 0, 'wait 100']);
    clock.advance(50);
    expect(await take()).toBe('wait 50');
    clock.advance(50);
    expect([await take(), await take()]).toEqual([0, 'wait 100']);
    clock.advance(10_000);
    expect([await take(), await take(), await take(), await take()]).toEqual([2, 1, 0, 'wait 100']);
  });

  it('are counted by the gateway itself while Redis is slow', async () => {
    await using slow = await startRedis();
    const [connection, other] = [connectRedis(slow.config, 'failFast'), connectRedis(slow.config, 'failFast')];
    await Promise.all([waitForRedis(connection, 10_000), waitForRedis(other, 10_000)]);
    const turns = new Turns(connection, new VirtualClock());
    const rate = { interval: HOUR, burst: 1 };
    expect((await turns.take('a', rate)).granted).toBe(true);
    await other.call('CLIENT', 'PAUSE', '30000');
    expect((await turns.take('b', rate)).granted).toBe(true);
    expect((await turns.take('b', rate)).granted).toBe(false);
    for (const one of [connection, other]) one.disconnect();
  });

  it('go on when Redis dies, and are exact again when it is back', async () => {
    await using own = await startRedis();
    const connection = connectRedis(own.config, 'failFast');
    await waitForRedis(connection, 10_000);
    const clock = new VirtualClock();
    const turns = new Turns(connection, clock);
    const rate = { interval: HOUR, burst: 1 };
    expect((await turns.take('a', rate)).granted).toBe(true);
    await own.kill();
    expect((await turns.take('b', rate)).granted).toBe(true);
    expect((await turns.take('b', rate)).granted).toBe(false);
    await own.start();
    await waitForRedis(connection, 10_000);
    clock.advance(1000);
    expect((await turns.take('b', rate)).granted).toBe(true); // Redis has not heard of b.
    expect(await connection.exists('fn:rate:b')).toBe(1);
    connection.disconnect();
  });
});

describe('rate', () => {
  it('answers 429 with the wait, tells what is left on every reply, and wakes nobody', async () => {
    await using connection = await connected();
    await using platform = await startPlatform({}, { redis: connection });
    const calls = await runMirror(platform, { name: 'slow', rate: { limit: '3600/h', burst: 2 } });
    const url = `${platform.url}/function/slow`;
    const first = await fetch(url);
    expect(first.status).toBe(200);
    expect(first.headers.get('ratelimit-policy')).toBe('"default";q=3600;w=3600');
    expect(first.headers.get('ratelimit')).toBe('"default";r=1;t=1');
    expect(await statusOf(url)).toBe(200);
    const third = await fetch(url);
    expect(third.status).toBe(429);
    expect(third.headers.get('retry-after')).toBe('1');
    expect(third.headers.get('ratelimit')).toMatch(/^"default";r=0;t=[12]$/);
    expect(await third.json()).toMatchObject({ code: 'rate.exceeded', retryAfterS: 1 });
    expect(calls).toHaveLength(2);
    expect(await platform.gateway.metricsText()).toContain('fn_policy_refusals_total{function="slow",policy="rate"} 1');
  });

  it('is one for all gateways', async () => {
    await using connection = await connected();
    await using one = await startPlatform({}, { redis: connection });
    await using two = await startPlatform({}, { redis: connection });
    for (const platform of [one, two]) await runMirror(platform, { name: 'both', rate: '5/d' });
    const statuses = await Promise.all(
      Array.from({ length: 20 }, (_, index) => statusOf(`${(index % 2 ? one : two).url}/function/both`)),
    );
    expect(statuses.filter((status) => status === 200)).toHaveLength(5);
    expect(statuses.filter((status) => status === 429)).toHaveLength(15);
  });

  it('is per key where there are keys, and refused keys do not count', async () => {
    await using connection = await connected();
    await using platform = await startPlatform({}, { redis: connection });
    await runMirror(platform, { name: 'keyed', auth: 'key', rate: '2/d' });
    const url = `${platform.url}/function/keyed`;
    const [a, b] = [newKey(), newKey()];
    for (const [name, { id, hash }] of Object.entries({ a, b })) {
      await platform.store.put('key', name, { name, id, hash, createdAt: 0 });
    }
    await new Promise((resolve) => setImmediate(resolve));
    const statuses = async (text: string): Promise<number[]> => {
      const all: number[] = [];
      for (let n = 0; n < 3; n++) all.push(await statusOf(url, { headers: { 'x-api-key': text } }));
      return all;
    };
    expect(await statuses('wrong')).toEqual([401, 401, 401]);
    expect(await statuses(a.text)).toEqual([200, 200, 429]);
    expect(await statuses(b.text)).toEqual([200, 200, 429]);
  });

  it('per address counts attempts too', async () => {
    await using connection = await connected();
    await using platform = await startPlatform({}, { redis: connection });
    await runMirror(platform, { name: 'door', auth: 'key', rate: { limit: '2/d', per: 'address' } });
    const url = `${platform.url}/function/door`;
    expect([await statusOf(url), await statusOf(url), await statusOf(url)]).toEqual([401, 401, 429]);
  });

  it('lets bodies of every size through, whole, while it looks', async () => {
    await using connection = await connected();
    await using platform = await startPlatform({}, { redis: connection });
    const calls = await runMirror(platform, { name: 'upload', rate: '1000/s' });
    for (const size of [0, 1, 65_536, 3_000_000]) {
      const body = 'x'.repeat(size);
      expect(await statusOf(`${platform.url}/function/upload`, { method: 'POST', body })).toBe(200);
      expect(calls.at(-1)?.body.length).toBe(size);
    }
    const stream = new Blob(['y'.repeat(500_000)]).stream();
    const init = { method: 'POST', body: stream, duplex: 'half' } as RequestInit;
    expect(await statusOf(`${platform.url}/function/upload`, init)).toBe(200);
    expect(calls.at(-1)?.body).toBe('y'.repeat(500_000));
  });
});
