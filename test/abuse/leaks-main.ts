/** Claims and destroys sandboxes, `node leaks-main.ts <times>`, and prints as JSON what was held: with a full pool after a few
 *  of them and after all of them, and when everything is closed. */

import { execFileSync } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import koffi from 'koffi';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Pool } from '../../worker/pool.ts';
import { eventually } from '../support/eventually.ts';
import { held, type Held } from './support/held.ts';
import { type Lab, MEMORY, openLab } from './support/lab.ts';

export interface Report {
  readonly runs: number;
  readonly few: Held;
  readonly all: Held;
  readonly closed: Held;
}

/** Enough for everything that is opened once to be open. */
const FEW = 12;
const AT_ONCE = 2;
const POOL = 2;
const SETTLES_WITHIN = 30_000;

const FUNCTION = `
  const { spawn } = require('node:child_process');
  module.exports = (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === '/exit') setTimeout(() => process.exit(3), 1);
    if (pathname === '/kill') setTimeout(() => process.kill(process.pid, 'SIGKILL'), 1);
    if (pathname === '/child') spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true });
    return Response.json({ ok: true });
  };`;

/** What its sandboxes do, in turn, before they are destroyed. */
const PATHS = ['/', '/exit', '/kill', '/child', 'does not load', 'has a network'];

/** @param pool a sandbox of it, if it has one. */
async function claimAndDestroy(lab: Lab, pool: Pool<string>, path: string): Promise<void> {
  const networked = path === 'has a network';
  const sandbox = networked ? undefined : pool.take({ rootfs: lab.rootfs, memory: MEMORY, egress: 'none' });
  const broken = path === 'does not load';
  const files = { 'index.js': broken ? 'throw new Error()' : FUNCTION };
  await using loaded = await lab.load(files, { ...(sandbox && { sandbox }), egress: networked ? 'internet' : 'none' });
  if (loaded.claim.status !== (broken ? 500 : 200)) throw new Error(JSON.stringify(loaded.claim));
  if (broken) return;
  const ends = path === '/exit' || path === '/kill';
  const reply = loaded.call(networked ? '/' : path);
  await (ends ? reply.catch(() => {}) : reply); // Whether the reply or the end is faster is not the question here.
  if (ends) await loaded.sandbox.ended;
}

async function main(lab: Lab, runs: number): Promise<Omit<Report, 'closed'>> {
  const { home, instanceOfPlatform } = lab.host.config;
  const pool = new Pool<string>(lab.host, { minimum: POOL, ceiling: 2 ** 40, clock: systemClock, log: silentLog });
  pool.want([{ class: { rootfs: lab.rootfs, memory: MEMORY, egress: 'none' }, max: POOL }]);
  const paths = PATHS.slice(0, lab.host.networks.unavailable ? -1 : undefined);
  let run = 0;
  /** What stays is a leak; what is on its way out is not. So two looks must be alike, or the second like an earlier one. */
  const runUntil = async (end: number, earlier?: Held): Promise<Held> => {
    const client = async (): Promise<void> => {
      while (run < end) await claimAndDestroy(lab, pool, paths[run++ % paths.length] ?? '/');
    };
    const clients = await Promise.allSettled(Array.from({ length: AT_ONCE }, client));
    for (const one of clients) if (one.status === 'rejected') throw one.reason;
    let last = earlier;
    return eventually(() => {
      if (pool.size !== POOL || lab.host.living.size !== POOL) throw new Error('the pool is not full');
      const now = held(home, instanceOfPlatform);
      if (now.processes.some((name) => name.endsWith('zombie'))) throw new Error('zombies are not collected yet');
      const isSettled = isDeepStrictEqual(now, last);
      last = earlier ?? now;
      if (!isSettled) throw new Error('it still changes');
      return now;
    }, SETTLES_WITHIN).catch(() => held(home, instanceOfPlatform)); // Then that is what there is.
  };
  try {
    const few = await runUntil(FEW);
    return { runs, few, all: await runUntil(FEW + runs, few) };
  } finally {
    await pool[Symbol.asyncDispose]();
    await lab[Symbol.asyncDispose]();
  }
}

// Networks are made in a namespace of our own, which stands for the machine's.
const CLONE_NEWNET = 0x40_00_00_00;
if (koffi.load(null).func('int unshare(int flags)')(CLONE_NEWNET) !== 0) throw new Error('unshare failed');
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const lab = await openLab();
const { home, instanceOfPlatform } = lab.host.config;
const report = await main(lab, Number(process.argv[2] ?? 10));
process.stdout.write(JSON.stringify({ ...report, closed: held(home, instanceOfPlatform) }));
