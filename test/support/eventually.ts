/** Waits for a fact instead of sleeping: tries until the check passes, then returns what it returned. */

import { sleep } from '../../core/clock.ts';
import type { Millis } from '../../core/units.ts';

export async function eventually<T>(check: () => T | Promise<T>, within: Millis = 10_000): Promise<T> {
  const end = performance.now() + within;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
      await sleep(20);
    }
  }
}

/** Waits until a count stands still for a tenth of a second, and returns it. */
export function atRest(count: () => number): Promise<number> {
  let before = Number.NaN;
  return eventually(async () => {
    await sleep(100);
    const now = count();
    if (now !== before) {
      before = now;
      throw new Error(`still moving: ${now}`);
    }
    return now;
  });
}
