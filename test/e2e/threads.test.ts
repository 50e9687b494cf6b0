/** A gateway of two threads, as the whole platform runs it: what a killed worker or gateway costs, and who the threads are. */

import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform({ FN_GATEWAY_THREADS: '2' });
  await platform.deployFiles({
    'fn.yaml': 'name: echo\nscale: { max: 3, min: 2 }',
    'index.js': 'export default async (request) => new Response(await request.text())',
  });
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

/** Calls from eight clients at once until it is over. */
async function failuresDuring(fault: () => Promise<void>): Promise<{ ok: number; failed: string[] }> {
  const probe = { ok: 0, failed: [] as string[] };
  const over = new AbortController();
  const client = async (id: number): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      try {
        const reply = await platform.call('/function/echo', { method: 'POST', body: `${id}:${n}` });
        const text = await reply.text();
        if (text === `${id}:${n}`) probe.ok++;
        else probe.failed.push(`${reply.status} ${text.slice(0, 300)}`);
      } catch (error) {
        probe.failed.push(String((error as Error).cause ?? error));
        await sleep(20);
      }
    }
  };
  const clients = Array.from({ length: 8 }, (_, id) => client(id));
  await fault();
  over.abort();
  await Promise.all(clients);
  return probe;
}

async function killed(role: 'gateway' | 'worker'): Promise<void> {
  const [pid = 0] = await platform.pids(role);
  expect(pid).toBeGreaterThan(1);
  process.kill(pid, 'SIGKILL');
  await eventually(async () => {
    const [next] = await platform.pids(role);
    expect(next).toBeDefined();
    expect(next).not.toBe(pid);
    expect((await platform.call('/function/echo', { method: 'POST', body: 'x' })).status).toBe(200);
    expect((await platform.api.get<{ healthy: boolean }>('/v1/status')).healthy).toBe(true);
  }, 40_000);
}

test('every thread of the gateway has given root up', async () => {
  const [pid = 0] = await platform.pids('gateway');
  const threads = readdirSync(`/proc/${pid}/task`);
  expect(threads.length).toBeGreaterThan(2);
  for (const thread of threads) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1');
    expect(status).toMatch(/^Uid:\t61337\t61337\t61337\t61337$/m);
    expect(status).toMatch(/^Groups:\s*$/m);
  }
});

test('a killed worker: warm calls go on, its instances are adopted', async () => {
  await eventually(async () => expect((await platform.instances('echo')).length).toBeGreaterThanOrEqual(2), 20_000);
  const before = new Map((await platform.instances('echo')).map(({ id, pid }) => [id, pid]));
  const probe = await failuresDuring(() => killed('worker'));
  expect(probe.failed).toEqual([]);
  expect(probe.ok).toBeGreaterThan(20);
  const kept = (await platform.instances('echo')).filter(({ id, pid }) => before.get(id) === pid);
  expect(kept.length).toBeGreaterThanOrEqual(2);
});

test('a killed gateway is back in a moment, with the instances that were there', async () => {
  const before = new Set((await platform.instances('echo')).map(({ id }) => id));
  const probe = await failuresDuring(() => killed('gateway'));
  expect(probe.ok).toBeGreaterThan(0);
  for (const failure of probe.failed) expect(failure).toMatch(/ECONNRESET|other side closed|socket|terminated/i);
  expect((await platform.instances('echo')).some(({ id }) => before.has(id))).toBe(true);
});

test('a new revision takes over without a failed call', async () => {
  const probe = await failuresDuring(async () => {
    await platform.deployFiles({
      'fn.yaml': 'name: echo\nscale: { max: 3, min: 2 }\nenv: { VERSION: "2" }',
      'index.js': 'export default async (request) => new Response(await request.text())',
    });
  });
  expect(probe.failed).toEqual([]);
});
