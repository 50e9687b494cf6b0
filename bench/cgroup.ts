/** What the worker's cgroup calls cost on this machine: those of every invocation (stats, resetPeak), of a claim (setLimits),
 *  of idling (freeze, thaw) and of an end (kill, remove). The group holds an idle node, as an instance does. As root:
 *
 *      node bench/cgroup.ts */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Cgroup, CgroupManager } from '../worker/cgroup/cgroup.ts';
import { openCgroups } from '../worker/cgroup/open.ts';

const ROUNDS = 2000;
const ENDS = 20;
const LIMITS = { memory: 256 * 2 ** 20, cpu: 1000, pids: 64, weight: 100 };

async function measure(name: string, rounds: number, step: () => unknown): Promise<void> {
  for (let i = 0; i < rounds / 10; i++) await step();
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    const result = step();
    if (result instanceof Promise) await result;
    times.push(performance.now() - start);
  }
  print(name, times);
}

function print(name: string, times: number[]): void {
  times.sort((a, b) => a - b);
  const at = (share: number): string => ((times[Math.floor(times.length * share)] ?? 0) * 1000).toFixed(1).padStart(9);
  console.log(`${name.padEnd(24)}${at(0.5)}${at(0.99)}`);
}

/** A node that waits for nothing. */
async function idleNode(group: Cgroup): Promise<ChildProcess> {
  const source = `console.log('up'); setInterval(() => {}, 1e9)`;
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'ignore'], env: {} });
  group.add(child.pid ?? 0);
  if (child.stdout) await once(child.stdout, 'data');
  return child;
}

async function ends(manager: CgroupManager): Promise<void> {
  const [kills, removals]: [number[], number[]] = [[], []];
  for (let i = 0; i < ENDS; i++) {
    using group = manager.open(`end-${i}`);
    group.create();
    await idleNode(group);
    const start = performance.now();
    await group.kill();
    const killed = performance.now();
    await group.remove();
    kills.push(killed - start);
    removals.push(performance.now() - killed);
  }
  print('kill (node)', kills);
  print('remove', removals);
}

async function main(): Promise<void> {
  const manager = openCgroups(randomBytes(4).toString('hex'));
  await manager.prepare();
  console.log(`cgroup ${manager.version}, node ${process.version}`);
  console.log(`${'µs'.padEnd(24)}${'p50'.padStart(9)}${'p99'.padStart(9)}`);
  using group = manager.open('bench');
  try {
    group.create();
    await idleNode(group);
    await measure('stats', ROUNDS, () => group.stats());
    await measure('resetPeak', ROUNDS, () => group.resetPeak());
    await measure('setLimits', ROUNDS, () => group.setLimits(LIMITS));
    await measure('freeze + thaw', ROUNDS / 4, async () => {
      await group.freeze();
      await group.thaw();
    });
    await measure('processes', ROUNDS / 4, () => group.processes());
    await measure('list', ROUNDS / 4, () => manager.list());
    await ends(manager);
  } finally {
    await group.kill();
    await group.remove();
    await manager.remove();
  }
}

await main();
