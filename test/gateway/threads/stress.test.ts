import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, fetch } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sleep } from '../../../core/clock.ts';
import type { RoutableInstance } from '../../../core/control.ts';
import { readInvocations } from '../../../core/invocation-log.ts';
import { connectRedis } from '../../../core/redis.ts';
import { eventually } from '../../support/eventually.ts';
import { type Platform, startPlatform } from '../support/platform.ts';

const THREADS = { FN_GATEWAY_THREADS: '4', FN_FREEZE_AFTER_MS: '1' };
const CONNECTIONS = 64;

/** Calls from so many connections at once, each for as long as `more` says; resolves to the statuses. */
async function load(url: string, more: (client: number, done: number) => boolean): Promise<number[]> {
  const statuses: number[] = [];
  const client = async (index: number): Promise<void> => {
    const dispatcher = new Agent({ connections: 1 });
    for (let done = 0; more(index, done); done++) {
      const reply = await fetch(url, { dispatcher });
      await reply.text();
      statuses.push(reply.status);
    }
    await dispatcher.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, index) => client(index)));
  return statuses;
}

/** An instance that notes how much it ever had at once. */
async function busy(platform: Platform, name: string, takes: () => number) {
  const seen = { now: 0, most: 0, total: 0 };
  const server = await platform.serve(name, (_request, response) => {
    seen.total++;
    seen.most = Math.max(seen.most, ++seen.now);
    const end = (): void => {
      seen.now--;
      response.end('ok');
    };
    const ms = takes();
    if (ms === 0) end();
    else setTimeout(end, ms);
  });
  return { server, seen };
}

describe('a gateway of four threads, under 64 connections', () => {
  let platform: Platform;
  beforeAll(async () => {
    platform = await startPlatform(THREADS);
  }, 60_000);
  afterAll(() => platform[Symbol.asyncDispose]());

  it('never gives an instance of concurrency 1 two requests at once, and counts each request once', async () => {
    const revision = await platform.deploy({ name: 'one', scale: { max: 3 } });
    const instances = await Promise.all(
      [1, 2, 3].map(() => busy(platform, 'one', () => Math.floor(Math.random() * 3))),
    );
    for (const { server } of instances) await platform.route(server, revision);
    const statuses = await load(`${platform.url}/function/one`, (_, done) => done < 30);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(instances.map(({ seen }) => seen.most)).toEqual([1, 1, 1]);
    expect(instances.reduce((sum, { seen }) => sum + seen.total, 0)).toBe(CONNECTIONS * 30);
    const count = `fn_requests_total{function="one",status="2xx"} ${CONNECTIONS * 30}`;
    await eventually(async () => expect(await platform.gateway.metricsText()).toContain(count));
    expect(platform.gateway.facts()['threads']).toBe(4);
  });

  it('lets nobody starve: every connection has its turn at the only slot', async () => {
    const revision = await platform.deploy({ name: 'single', timeout: '20s', scale: { max: 1 } });
    const { server, seen } = await busy(platform, 'single', () => 1);
    await platform.route(server, revision);
    const turns = Array.from({ length: CONNECTIONS }, () => 0);
    const end = performance.now() + 3000;
    await load(`${platform.url}/function/single`, (client) => {
      turns[client]!++;
      return performance.now() < end;
    });
    expect(Math.min(...turns)).toBeGreaterThan(1);
    expect(seen.most).toBe(1);
  });

  it('has exactly as many waiting as its limit, and asks for no instance twice', async () => {
    await using narrow = await startPlatform({ ...THREADS, FN_WAITING_LIMIT: '10' });
    await narrow.deploy({ name: 'full', concurrency: 4, scale: { max: 20 } });
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    let asked = 0;
    narrow.worker.acquire = async ({ revision }) => {
      asked++;
      await opened;
      return narrow.routable((await busy(narrow, 'full', () => 1)).server, revision, 4);
    };
    const replies = load(`${narrow.url}/function/full`, (_, done) => done < 1);
    const refused = `fn_errors_total{code="capacity.queue_full"} ${CONNECTIONS - 10}`;
    await eventually(async () => expect(await narrow.gateway.metricsText()).toContain(refused));
    expect(narrow.gateway.facts()['waiting']).toBe(10);
    open();
    const statuses = await replies;
    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(CONNECTIONS - 10);
    expect(asked).toBe(3); // For ten at four a time.
  });

  it('tells all who wait, in whichever thread, when no instance can start', async () => {
    await platform.deploy({ name: 'broken', timeout: '20s' });
    const { promise: failing, reject: fail } = Promise.withResolvers<RoutableInstance>();
    failing.catch(() => {});
    platform.worker.acquire = () => failing;
    const replies = load(`${platform.url}/function/broken`, (_, done) => done < 1);
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(CONNECTIONS));
    fail(new Error('no'));
    expect(new Set(await replies)).toEqual(new Set([500]));
  });

  it('never leaves a frozen instance with a request', async () => {
    const revision = await platform.deploy({ name: 'ice', concurrency: 2, scale: { max: 1 } });
    const file = join(platform.config.home, 'freezer');
    writeFileSync(file, 'THAWED');
    const isFrozen = (): boolean => readFileSync(file, 'latin1') === 'FROZEN';
    let stuck = 0;
    const server = await platform.serve('ice', (_request, response) => {
      void (async () => {
        // A freezer that was at work when the request came thaws it at once.
        const end = performance.now() + 5000;
        while (isFrozen() && performance.now() < end) await sleep(1);
        if (isFrozen()) stuck++;
        response.end('ok');
      })();
    });
    const instance: RoutableInstance = {
      ...platform.routable(server, revision, 2),
      freezer: { path: file, freeze: 'FROZEN', thaw: 'THAWED' },
    };
    await (await platform.peer()).call('route', { instance }, 5000);
    let thawed = 0;
    for (let round = 0; round < 8; round++) {
      await eventually(() => expect(isFrozen()).toBe(true));
      const replies = await Promise.all(Array.from({ length: 8 }, () => fetch(`${platform.url}/function/ice`)));
      for (const reply of replies) thawed += reply.headers.get('x-fn-start')?.startsWith('thawed') ? 1 : 0;
      await Promise.all(replies.map((reply) => reply.text()));
    }
    expect(stuck).toBe(0);
    expect(thawed).toBeGreaterThanOrEqual(8);
  });

  it('writes one record of each invocation, with an account that is its own', async () => {
    const redis = connectRedis(platform.config, 'patient');
    try {
      const revision = await platform.deploy({ name: 'kept', scale: { max: 1 } });
      const file = (name: string): string => join(platform.config.home, name);
      let used = 0;
      writeFileSync(file('cpu'), '0');
      writeFileSync(file('stat'), 'throttled_time 0\n');
      const server = await platform.serve('kept', (_request, response) => {
        used += 7;
        writeFileSync(file('cpu'), String(used * 1000));
        response.end('ok');
      });
      const account: RoutableInstance['account'] = {
        cpu: { path: file('cpu'), perMicro: 1000 },
        throttled: { path: file('stat'), field: 'throttled_time', perMicro: 1000 },
      };
      const instance = { ...platform.routable(server, revision), account };
      await (await platform.peer()).call('route', { instance }, 5000);
      await load(`${platform.url}/function/kept`, (_, done) => done < 5);
      const records = await eventually(async () => {
        const found = await readInvocations(redis, 'kept' as never, 1000);
        expect(found).toHaveLength(CONNECTIONS * 5);
        return found;
      });
      expect(new Set(records.map(({ id }) => id)).size).toBe(CONNECTIONS * 5);
      expect(records.every(({ cpu, shared }) => cpu === 7 && !shared)).toBe(true);
    } finally {
      redis.disconnect();
    }
  });
});
