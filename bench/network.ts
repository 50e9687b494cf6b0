/** What the network of a sandbox costs: to make (in the background, with the pool), to remove, and in memory. A claim touches
 *  none of it. In namespaces of its own, so that nothing of the machine changes. As root:
 *
 *      unshare --net --mount --propagation private node bench/network.ts */

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../core/clock.ts';
import { loadConfig } from '../core/config.ts';
import type { Egress } from '../core/egress.ts';
import { newSandboxId, type SandboxId } from '../core/ids.ts';
import { silentLog } from '../core/log.ts';
import { run } from '../worker/network/commands.ts';
import { Networks } from '../worker/network/networks.ts';

const ROUNDS = 50;
const BURST = 20;

if (readFileSync('/proc/net/route', 'utf8').trim().includes('\n')) {
  throw new Error('this namespace has routes: start with unshare --net --mount, as the first lines say');
}
const home = mkdtempSync(join(tmpdir(), 'fn-bench-'));
const config = loadConfig({ FN_HOME: home, FN_DNS: '192.0.2.53' });
mkdirSync(config.paths.sandboxes, { recursive: true });
const networks = await Networks.open(config, silentLog);
let slot = 0;

async function make(egress: Egress): Promise<SandboxId> {
  const id = newSandboxId();
  await networks.create(id, slot++, egress);
  return id;
}

async function measure(name: string, rounds: number, step: () => unknown): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await step();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor((rounds - 1) * share)] ?? 0).toFixed(2).padStart(9);
  console.log(`${name.padEnd(40)}${at(0.5)}${at(0.9)}${at(1)}`);
}

/** Memory of the kernel's own that is in use, KiB. */
function kernelMemory(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  return ['Slab', 'Percpu', 'VmallocUsed'].reduce(
    (sum, name) => sum + Number(new RegExp(`${name}: +(\\d+)`).exec(text)?.[1] ?? 0),
    0,
  );
}

console.log(`${'ms'.padEnd(40)}${['p50', 'p90', 'max'].map((title) => title.padStart(9)).join('')}`);
await measure('the first one, with the router', 1, () => make('internet'));
const before = kernelMemory();
await measure('one more', ROUNDS, () => make('internet'));
await sleep(500);
const perNetwork = (kernelMemory() - before) / ROUNDS;
await measure(`${BURST} at once`, 3, () => Promise.all(Array.from({ length: BURST }, () => make('internet'))));
let list = 0;
await measure('the first of a new list', 10, () => make([`10.${list++}.0.0/16`]));
await measure('refresh', 10, () => networks.refresh());
await measure('for comparison: unshare --net true', 20, () => run('unshare', ['--net', 'true']));
const ids = networks.list();
await measure('remove', ids.length, () => networks.remove(ids.pop() as SandboxId));
console.log(`kernel memory of one network: ${perNetwork.toFixed(0)} KiB`);
await networks.close();
rmSync(home, { recursive: true });
