/** What an idle instance holds: the proportional set size (PSS) of every process that exists because of it, shared pages
 *  divided among those that share them. Beside as many bare node servers. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../../core/units.ts';
import { commandOf } from '../../test/support/platform.ts';
import type { Lab } from '../cold.ts';
import { call } from '../support/call.ts';
import { address, deployMany, platformIn, poolOf, settled } from '../support/platform.ts';
import { figure, printTable, ratio } from '../support/table.ts';

const COUNT = 50;
const MIB = 2 ** 20;
const SERVER = `require('node:http').createServer((_, r) => r.end('ok')).listen(0, '127.0.0.1', () => console.log('up'))`;

export async function measureMemory(lab: Lab): Promise<void> {
  const names = Array.from({ length: COUNT }, (_, index) => `m${index}`);
  const rows: { name: string; pss: Bytes; processes: number }[] = [];
  {
    await using platform = await platformIn(lab.home, { ...poolOf(10), FN_FREEZE_AFTER_MS: '1000' });
    await deployMany(platform, lab.home, names, '1h', lab.signal);
    for (const name of names) await call(address(platform), `/function/${name}`);
    await settled(platform, COUNT, 10);
    const pids: number[] = [];
    const warm = new Set(await sandboxInits(platform.config.paths.sandboxes));
    for (const name of names) {
      for (const { pid } of await platform.instances(name)) {
        pids.push(...(await treeOf(pid)));
        warm.delete(pid);
      }
    }
    rows.push({ name: 'fn, called once, frozen', pss: await pssOf(pids), processes: pids.length });
    const pool = (await Promise.all([...warm].map(treeOf))).flat();
    rows.push({ name: 'fn, in the pool', pss: (await pssOf(pool)) * (COUNT / warm.size), processes: pool.length });
    await platform.removeAll();
  }
  rows.push(await bareNode());
  const bare = rows.at(-1)?.pss ?? 0;
  printTable(
    [`${COUNT} idle`, 'PSS of one, MiB', 'processes', 'to bare node'],
    rows.map(({ name, pss, processes }) => [name, figure(pss / COUNT / MIB), String(processes), ratio(pss, bare)]),
  );
}

async function bareNode(): Promise<{ name: string; pss: Bytes; processes: number }> {
  const children: ChildProcess[] = [];
  try {
    for (let n = 0; n < COUNT; n++) {
      const child = spawn(process.execPath, ['-e', SERVER], { env: {}, stdio: ['ignore', 'pipe', 'ignore'] });
      children.push(child);
      await once(child.stdout, 'data');
    }
    const pids = children.flatMap(({ pid }) => pid ?? []);
    return { name: 'bare node server', pss: await pssOf(pids), processes: pids.length };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

/** First processes of all sandboxes. */
async function sandboxInits(directory: string): Promise<number[]> {
  const states = await Promise.all(
    (await readdir(directory)).map((id) => readFile(join(directory, id, 'state.json'), 'utf8').catch(() => '')),
  );
  return states.filter(Boolean).map((text) => (JSON.parse(text) as { pid: number }).pid);
}

/** A process, all below it, and a runtime or a shim above it if there is one. */
async function treeOf(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const below = await Promise.all(children.split(' ').filter(Boolean).map(Number).map(treeOf));
  const parent = Number(/^PPid:\t(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const shim = /(crun|runc|conmon|shim)$/.test(commandOf(parent)[0] ?? '') ? [parent] : [];
  return [pid, ...below.flat(), ...shim];
}

async function pssOf(pids: readonly number[]): Promise<Bytes> {
  const sizes = await Promise.all(
    pids.map(async (pid) => {
      const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      return Number(/^Pss: +(\d+) kB/m.exec(text)?.[1]) * 1024;
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
