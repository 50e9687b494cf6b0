/** What can wait until nothing more urgent comes: in their order, once for a while no more were added, and not for ever. Each
 *  gets a turn of the event loop of its own, so that a hundred of them do not hold up the next claim. */

import type { Clock } from '../core/clock.ts';
import type { Millis } from '../core/units.ts';

/** A claim and its first invocation take less. */
export const CALM: Millis = 20;
export const WAIT_AT_MOST: Millis = 500;

export class Lull {
  readonly #clock: Clock;
  #tasks: (() => void)[] = [];
  #since: Millis = 0;
  #timer: Disposable | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  later(task: () => void): void {
    const now = this.#clock.monotonic();
    if (this.#tasks.length === 0) this.#since = now;
    this.#tasks.push(task);
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#clock.after(Math.min(CALM, this.#since + WAIT_AT_MOST - now), () => {
      const due = this.#tasks;
      this.#tasks = [];
      for (const one of due) setImmediate(one);
    });
  }
}
