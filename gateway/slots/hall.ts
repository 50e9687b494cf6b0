/** How many requests may wait in a gateway, so that one function's callers cannot take all of its memory and descriptors.
 *  Each function has a room of a fixed size. All rooms together have a bound as well; once that is reached, only functions
 *  below an equal share of it may add more. So a function below its share is never refused because of others, and whoever
 *  came first and took more than its share gets nothing more until it is below it.
 *
 *  Nobody who waits is sent away for a newcomer, so the bound is exceeded while those above their share go down: by
 *  newcomers' shares, which get smaller with each (1/2, 1/3, …), hence by a factor of 1 + ln(functions) at the very most. */

import type { Rows } from './rows.ts';

export interface WaitingLimits {
  /** Of one function. */
  readonly each: number;
  /** Of all together. */
  readonly all: number;
}

/** @param own requests that wait for the function; @param all for any; @param functions how many of them somebody waits for. */
export function mayWait(own: number, all: number, functions: number, limits: WaitingLimits): boolean {
  if (own >= limits.each) return false;
  if (all < limits.all) return true;
  const sharing = own === 0 ? functions + 1 : functions;
  return own < Math.max(1, Math.floor(limits.all / sharing));
}

const ALL = 0;
const FUNCTIONS = 1;

/** Counts over all threads of the gateway. */
export class Hall {
  readonly limits: WaitingLimits;
  readonly #rows: Rows;
  readonly #at: number;

  /** It is there as long as the gateway. */
  constructor(rows: Rows, limits: WaitingLimits) {
    this.limits = limits;
    this.#rows = rows;
    this.#at = rows.open('waiting in all').at;
  }

  /** One more for the function whose count is at `room`; false when it may not wait. Two threads that ask at the same
   *  moment may both get the last place of all; of the function's room there is no more than one last place. */
  enter(room: number): boolean {
    const { cells } = this.#rows;
    for (;;) {
      const own = Atomics.load(cells, room);
      const all = Atomics.load(cells, this.#at + ALL);
      if (!mayWait(own, all, Atomics.load(cells, this.#at + FUNCTIONS), this.limits)) return false;
      if (Atomics.compareExchange(cells, room, own, own + 1) !== own) continue;
      Atomics.add(cells, this.#at + ALL, 1);
      if (own === 0) Atomics.add(cells, this.#at + FUNCTIONS, 1);
      return true;
    }
  }

  leave(room: number): void {
    const { cells } = this.#rows;
    if (Atomics.sub(cells, room, 1) === 1) Atomics.sub(cells, this.#at + FUNCTIONS, 1);
    Atomics.sub(cells, this.#at + ALL, 1);
  }
}
