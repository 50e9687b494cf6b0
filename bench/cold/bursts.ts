/** A burst: every function called at once, all from zero. Beside as many node processes started at once on the host, which
 *  is what the processors can do. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Millis } from '../../core/units.ts';
import type { Lab } from '../cold.ts';
import { call, untilAnswered } from '../support/call.ts';
import { address, platformIn, poolOf, settled } from '../support/platform.ts';
import { quiet } from '../support/quiet.ts';
import { median, percentile } from '../support/statistics.ts';
import { figure, printTable, ratio } from '../support/table.ts';

const POOLS = [100, 10, 0];
const SERVER = join(import.meta.dirname, 'server.mjs');

interface Burst {
  /** Until the last had its reply. */
  readonly all: Millis;
  readonly p50: Millis;
}

export async function measureBursts(lab: Lab): Promise<void> {
  const count = lab.functions.length;
  const rows: { name: string; bursts: Burst[] }[] = [];
  const host: Burst[] = []; // Turns with the bursts without a pool: with one, only absolute times count.
  for (const pool of POOLS) {
    const bursts: Burst[] = [];
    await using platform = await platformIn(lab.home, { ...poolOf(pool), FN_START_TIMEOUT_MS: '60000' });
    for (let round = 0; round < lab.rounds; round++) {
      await settled(platform, 0, Math.min(pool, count));
      await quiet();
      bursts.push(await burst(lab.functions.map((name) => callFrom(address(platform), name))));
      lab.signal.throwIfAborted();
      if (pool === 0) {
        await settled(platform, 0, 0);
        await quiet();
        host.push(await hostBurst(lab));
      }
    }
    rows.push({ name: `fn, pool of ${pool}`, bursts });
  }
  const rate = ({ all }: Burst): number => (count * 1000) / all;
  const row = (name: string, bursts: readonly Burst[]): string[] => [
    name,
    String(bursts.length),
    figure(median(bursts.map(({ p50 }) => p50))),
    figure(median(bursts.map(({ all }) => all))),
    figure(median(bursts.map(rate))),
    ratio(median(bursts.map(rate)), median(host.map(rate))),
  ];
  printTable(
    [`${count} at once`, 'rounds', 'p50 ms', 'all done ms', 'a second', 'rate to host node'],
    [...rows.map(({ name, bursts }) => row(name, bursts)), row('node on the host', host)],
  );
}

function callFrom(to: { host: string; port: number }, name: string): () => Promise<Millis> {
  return async () => {
    const reply = await call(to, `/function/${name}`);
    if (reply.body !== name) throw new Error(`${name}: ${reply.status} ${reply.body}`);
    return reply.first;
  };
}

async function burst(starts: readonly (() => Promise<Millis>)[]): Promise<Burst> {
  const began = performance.now();
  const times = await Promise.all(starts.map((start) => start()));
  return { all: performance.now() - began, p50: percentile(times, 0.5) };
}

async function hostBurst(lab: Lab): Promise<Burst> {
  const directory = join(lab.home, 'host');
  await mkdir(directory, { recursive: true });
  const children: ChildProcess[] = [];
  try {
    return await burst(
      lab.functions.map((name) => () => {
        const path = join(directory, `${name}-${performance.now()}.sock`);
        const began = performance.now();
        const child = spawn(process.execPath, [SERVER, path], { env: {}, stdio: 'ignore' });
        children.push(child);
        return untilAnswered({ path }, began, () => child.exitCode === null);
      }),
    );
  } finally {
    const gone = children.map((child) => once(child, 'exit'));
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(gone);
  }
}
