/** A gateway of two threads, as the whole platform runs it: what a killed worker or gateway costs, and who the threads are. */

import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { callsDuring, echo, killed, whole } from '../support/faults.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform({ FN_GATEWAY_THREADS: '2' });
  // Exactly two: a third would come with the load, and then any of them may be scaled down.
  await platform.deployFiles(echo('name: echo\nscale: { max: 2, min: 2 }'));
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

const byId = (a: { id: string }, b: { id: string }): number => a.id.localeCompare(b.id);

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
  const before = await eventually(async () => {
    const found = await platform.instances('echo');
    expect(found).toHaveLength(2);
    return found;
  }, 20_000);
  const calls = await callsDuring(platform, async () => {
    await killed(platform, 'worker');
    await whole(platform);
  });
  expect(calls.failed).toEqual([]);
  expect(calls.ok).toBeGreaterThan(0); // How many is the machine’s to say.
  const after = await platform.instances('echo');
  expect(after.toSorted(byId)).toEqual(before.toSorted(byId));
});

test('a killed gateway is back in a moment, with the instances that were there', async () => {
  const before = new Set((await platform.instances('echo')).map(({ id }) => id));
  const calls = await callsDuring(platform, async () => {
    await killed(platform, 'gateway');
    await whole(platform);
  });
  expect(calls.ok).toBeGreaterThan(0);
  for (const failure of calls.failed) expect(failure).toMatch(/ECONNRESET|other side closed|socket|terminated/i);
  expect((await platform.instances('echo')).some(({ id }) => before.has(id))).toBe(true);
});

test('a new revision takes over without a failed call', async () => {
  const calls = await callsDuring(platform, () =>
    platform.deployFiles(echo('name: echo\nscale: { max: 2, min: 2 }\nenv: { VERSION: "2" }')),
  );
  expect(calls.failed).toEqual([]);
});
