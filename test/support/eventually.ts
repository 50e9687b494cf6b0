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
