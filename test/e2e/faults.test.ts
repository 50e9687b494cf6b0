/** Processes die at the worst moment, and the platform is whole again without a command typed. A prober calls all the time;
 *  a ledger of every accepted job is settled at the end. */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { eventually } from '../support/eventually.ts';
import { callsDuring, echo, killed, whole, WORK } from '../support/faults.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
  // Exactly two: a third would come with the load, and then any of them may be scaled down.
  await platform.deployFiles(echo('name: echo\nconcurrency: 4\nscale: { max: 2, min: 2 }'));
  await platform.deployFiles(WORK);
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

interface Ended {
  readonly id: string;
  readonly end?: { readonly reason: string };
}

async function isWhole(): Promise<void> {
  await whole(platform);
  await eventually(async () => {
    const id = await platform.submit('/async/work', { n: 3 });
    expect((await platform.settled(id, 10_000)).state).toBe('completed');
  }, 40_000);
}

test('an instance killed under load is replaced; other requests are not touched', async () => {
  await eventually(async () => expect(await platform.instances('echo')).toHaveLength(2), 20_000);
  const before = await platform.instances('echo');
  const calls = await callsDuring(platform, async () => {
    process.kill(before[0]?.pid ?? 0, 'SIGKILL');
    await eventually(async () => {
      const now = await platform.instances('echo');
      expect(now.map(({ id }) => id)).not.toContain(before[0]?.id);
      expect(now.length).toBeGreaterThanOrEqual(2);
    }, 20_000);
  });
  // At most the four invocations that were in the killed instance.
  expect(calls.failed.slice(4)).toEqual([]);
  for (const failure of calls.failed) expect(failure).toMatch(/function\.killed/);
});

test('a killed worker: warm calls go on, its instances are adopted', async () => {
  await eventually(async () => expect((await platform.instances('echo')).length).toBeGreaterThanOrEqual(2), 20_000);
  const before = await platform.instances('echo');
  const calls = await callsDuring(platform, async () => {
    await killed(platform, 'worker');
    await isWhole();
  });
  expect(calls.failed).toEqual([]);
  const after = new Map((await platform.instances('echo')).map(({ id, pid }) => [id, pid]));
  const kept = before.filter(({ id, pid }) => after.get(id) === pid);
  expect(kept.length).toBeGreaterThanOrEqual(2);
  // Those above scale.min may have been scaled down meanwhile; nothing else may have ended one.
  const { instances } = await platform.api.get<{ instances: Ended[] }>('/v1/functions/echo');
  const ends = before.filter((one) => !kept.includes(one)).map(({ id }) => instances.find((one) => one.id === id)?.end);
  expect(ends.filter((end) => end?.reason !== 'scaled-down')).toEqual([]);
});

test('a killed controller: warm calls go on', async () => {
  const calls = await callsDuring(platform, async () => {
    await killed(platform, 'controller');
    await isWhole();
  });
  expect(calls.failed).toEqual([]);
});

test('a killed gateway is back in a moment; only requests in flight break, new clients wait', async () => {
  const calls = await callsDuring(platform, async () => {
    await killed(platform, 'gateway');
    await isWhole();
  });
  expect(calls.ok).toBeGreaterThan(0);
  for (const failure of calls.failed) expect(failure).toMatch(/ECONNRESET|other side closed|socket|terminated/i);
  expect(calls.failed.filter((failure) => failure.includes('ECONNREFUSED'))).toEqual([]);
  expect(calls.failed.length).toBeLessThanOrEqual(16); // Eight clients; a connection that was kept may break as well.
});

test('a killed Redis: warm calls go on, and no accepted job is lost', async () => {
  const accepted: { id: string; n: number }[] = [];
  const refused: string[] = [];
  const calls = await callsDuring(platform, async () => {
    const submitter = (async () => {
      for (let n = 0; accepted.length < 300; n++) {
        try {
          accepted.push({ id: await platform.submit('/async/work', { n }), n });
        } catch (error) {
          refused.push(String(error));
          await sleep(30);
        }
      }
    })();
    await eventually(() => expect(accepted.length).toBeGreaterThan(50), 30_000);
    await killed(platform, 'redis');
    await submitter;
    await isWhole();
  });
  expect(calls.failed).toEqual([]);
  for (const refusal of refused) expect(refusal).toMatch(/503.*redis\.unavailable/s);
  for (const { id, n } of accepted) {
    const { state, result } = await platform.settled(id);
    expect([id, state, JSON.parse(result?.body ?? 'null')]).toEqual([id, 'completed', { n, square: n * n }]);
  }
}, 120_000);

test('a worker killed again and again while jobs run: every accepted job completes', async () => {
  const ids: { id: string; n: number }[] = [];
  for (let n = 0; n < 100; n++) ids.push({ id: await platform.submit('/async/work', { n }), n });
  for (let times = 0; times < 2; times++) {
    await killed(platform, 'worker');
    await sleep(300);
  }
  for (const { id, n } of ids) {
    const { state, result } = await platform.settled(id, 90_000);
    expect([state, JSON.parse(result?.body ?? 'null')]).toEqual(['completed', { n, square: n * n }]);
  }
}, 180_000);

test('a second platform in the same home is refused, and says who runs', async () => {
  const { code, stderr } = await platform.fn(['server', '--json'], {
    env: { FN_GATEWAY_PORT: '0', FN_API_PORT: '0' },
  });
  expect(code).toBe(1);
  const pid = /\d+/.exec(readFileSync(platform.config.paths.lock, 'utf8'))?.[0] ?? 'none';
  expect(stderr).toContain('server.running');
  expect(stderr).toContain(pid);
});
