/** Has a burst of sandboxes made without a pool, and prints as JSON the order in which they were asked for and in which their
 *  making began, and how many were being made at a time at most. The clock stands still, so that no place runs out. */

import { VirtualClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Pool } from '../../worker/pool.ts';
import { type Lab, MEMORY, openLab } from '../abuse/support/lab.ts';

const BURST = 12;
const WITHIN = 60_000;
const LOOK_EVERY = 1;

async function burst({ host, rootfs }: Lab): Promise<object> {
  const pool = new Pool<string>(host, { minimum: 0, ceiling: 0, clock: new VirtualClock(), log: silentLog });
  let answered = 0;
  let most = 0;
  const looking = setInterval(() => (most = Math.max(most, host.living.size - answered)), LOOK_EVERY);
  const made = await Promise.all(
    Array.from({ length: BURST }, async () => {
      const sandbox = await pool.make({ rootfs, memory: MEMORY, egress: 'none' }, WITHIN - 0.5);
      await sandbox.warm(WITHIN).finally(() => answered++);
      return sandbox;
    }),
  );
  clearInterval(looking);
  const began = [...host.living];
  await Promise.all(made.map((sandbox) => sandbox[Symbol.asyncDispose]()));
  await pool[Symbol.asyncDispose]();
  return { asked: made.map(({ id }) => id), began, most };
}

await using lab = await openLab();
process.stdout.write(JSON.stringify(await burst(lab)));
