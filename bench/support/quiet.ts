/** Waits for the machine to have nothing else to do, so that a latency is ours and not a neighbour's. Bounded: on a machine
 *  that is never quiet the benchmark goes on, and says how often that was. */

import { readFileSync } from 'node:fs';
import { sleep } from '../../core/clock.ts';
import type { Millis } from '../../core/units.ts';

/** The kernel counts in steps of 10 ms on each cpu. */
const WINDOW: Millis = 60;
const IDLE_SHARE = 0.85;

let noisy = 0;
let asked = 0;

export async function quiet(within: Millis = 500): Promise<void> {
  asked++;
  const end = performance.now() + within;
  let before = ticks();
  while (performance.now() < end) {
    await sleep(WINDOW);
    const after = ticks();
    if ((after.idle - before.idle) / (after.all - before.all) >= IDLE_SHARE) return;
    before = after;
  }
  noisy++;
}

/** Prints how quiet it was since the last time. */
export function printNoise(): void {
  if (noisy > 0) console.log(`\nThe machine was busy with something else at ${noisy} of ${asked} measurements.`);
  noisy = asked = 0;
}

function ticks(): { idle: number; all: number } {
  const [, ...fields] = readFileSync('/proc/stat', 'utf8').split('\n')[0]?.split(/\s+/) ?? [];
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0] = fields.map(Number);
  return { idle: idle + wait, all: user + nice + system + idle + wait + irq + soft + steal };
}
