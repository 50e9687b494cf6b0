/** A minute of one function's load in sixty slots of a second. Bounded, and cheap to read: what the autoscaler averages. A
 *  second in which nothing was recorded (the controller was away, or just started) counts neither way. */

import type { Millis } from '../core/units.ts';
import { PANIC_WINDOW, STABLE_WINDOW } from './autoscale.ts';

export interface LoadSample {
  /** Average concurrency in this second. */
  readonly average: number;
  /** Highest concurrency in this second. */
  readonly peak: number;
  /** Invocations that came in this second. */
  readonly arrivals: number;
}

interface Slot extends LoadSample {
  readonly second: number;
}

const SLOTS = STABLE_WINDOW / 1000;

export class LoadWindow {
  readonly #slots: (Slot | undefined)[] = Array.from({ length: SLOTS });

  /** Samples of the same second add up in arrivals; of the others the higher stays. */
  add(now: Millis, sample: LoadSample): void {
    const second = Math.floor(now / 1000);
    const held = this.#slots[second % SLOTS];
    this.#slots[second % SLOTS] =
      held?.second === second
        ? {
            second,
            average: Math.max(held.average, sample.average),
            peak: Math.max(held.peak, sample.peak),
            arrivals: held.arrivals + sample.arrivals,
          }
        : { second, ...sample };
  }

  /** @param delay how far back the peak reaches; at most STABLE_WINDOW. */
  read(now: Millis, delay: Millis): { stable: number; panic: number; peak: number; arrivals: number } {
    const stable = this.#within(now, STABLE_WINDOW);
    const panic = this.#within(now, PANIC_WINDOW);
    return {
      stable: mean(stable.map((slot) => slot.average)),
      panic: mean(panic.map((slot) => slot.average)),
      peak: Math.max(0, ...this.#within(now, delay).map((slot) => slot.peak)),
      arrivals: mean(stable.map((slot) => slot.arrivals)),
    };
  }

  #within(now: Millis, span: Millis): Slot[] {
    const newest = Math.floor(now / 1000);
    const oldest = newest - Math.min(SLOTS, Math.max(1, Math.ceil(span / 1000)));
    return this.#slots.filter((slot) => slot !== undefined && slot.second > oldest && slot.second <= newest) as Slot[];
  }
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
