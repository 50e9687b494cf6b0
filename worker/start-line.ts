/** Who may make a sandbox now. A hundred made at once on two processors are ready together, all of them late; a few at a time,
 *  first come first served, take as long in all, and half of them are ready in half that time. Whoever makes one for nobody
 *  in particular goes last. A place is held until the sandbox first answers, and not for long: a function that takes its time
 *  to load, or hangs, keeps nobody else from starting. */

import type { Clock } from '../core/clock.ts';
import { FnError } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';

/** Four at a time on two processors answer within 0.3 s. */
export const HELD_AT_MOST: Millis = 1000;

interface Turn {
  readonly isLast: boolean;
  readonly come: (place: Disposable) => void;
}

export class StartLine {
  readonly #clock: Clock;
  #free: number;
  #waiting: readonly Turn[] = [];

  /** @param places sandboxes that are made at a time. */
  constructor(places: number, clock: Clock) {
    this.#clock = clock;
    this.#free = places;
  }

  /** A place, to be disposed of when the start is over; again is harmless. Rejects with capacity.node_full when the signal
   *  aborts first.
   *  @param isLast lets everyone go first who is not. */
  async enter(signal: AbortSignal, isLast = false): Promise<Disposable> {
    const { promise, resolve: come } = Promise.withResolvers<Disposable>();
    const turn: Turn = { isLast, come };
    this.#waiting = [...this.#waiting, turn];
    this.#advance();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const leave = (): void => {
      if (!this.#waiting.includes(turn)) return;
      const count = this.#waiting.length;
      this.#waiting = this.#waiting.filter((one) => one !== turn);
      const detail = `its turn did not come in time: ${count} sandboxes wait to be made`;
      reject(new FnError('capacity.node_full', detail, { retryAfterS: 1 }));
    };
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #advance(): void {
    while (this.#free > 0) {
      const next = this.#waiting.find(({ isLast }) => !isLast) ?? this.#waiting[0];
      if (!next) return;
      this.#waiting = this.#waiting.filter((one) => one !== next);
      this.#free--;
      next.come(this.#place());
    }
  }

  #place(): Disposable {
    let timer: Disposable | undefined;
    const leave = (): void => {
      if (!timer) return;
      timer[Symbol.dispose]();
      timer = undefined;
      this.#free++;
      this.#advance();
    };
    timer = this.#clock.after(HELD_AT_MOST, leave);
    return { [Symbol.dispose]: leave };
  }
}
