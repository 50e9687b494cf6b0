/** Takes sandbox after sandbox from a pool of one, each time a moment after the one before it, and prints as JSON how often
 *  there was one. The clock goes on by itself only as far as a claim's calm: a pool that waits for its next review stays empty. */

import { VirtualClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Pool } from '../../worker/pool.ts';
import { eventually } from '../support/eventually.ts';
import { type Lab, MEMORY, openLab } from '../abuse/support/lab.ts';

const TIMES = 3;
const STEP = 5;
const WITHIN = 20_000;

async function takeAll({ host, rootfs }: Lab): Promise<object> {
  const clock = new VirtualClock();
  const wanted = { rootfs, memory: MEMORY, egress: 'none' } as const;
  await using pool = new Pool<string>(host, { minimum: 1, ceiling: 2 ** 30, clock, log: silentLog });
  pool.want([{ class: wanted, max: 1 }]);
  let taken = 0;
  for (; taken < TIMES; taken++) {
    let passed = 0;
    await eventually(() => {
      // A second in all, which is a tenth of the time to the next review.
      if (passed < 1000) clock.advance(STEP);
      passed += STEP;
      if (pool.size !== 1) throw new Error('none yet');
    }, WITHIN);
    await pool.take(wanted)?.[Symbol.asyncDispose]();
  }
  return { taken };
}

await using lab = await openLab();
process.stdout.write(JSON.stringify(await takeAll(lab)));
