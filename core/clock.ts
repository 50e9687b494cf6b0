/** Time, passed in. Decisions take `now`; what waits takes a Clock, so that tests jump instead of sleeping. */

import type { Millis } from './units.ts';

export interface Clock {
  /** Unix time in ms: for records and for people. May jump. */
  now(): Millis;
  /** Monotonic ms: for every duration, deadline and back-off. */
  monotonic(): Millis;
  /** Calls back once after `ms`. Does not keep the process alive. */
  after(ms: Millis, callback: () => void): Disposable;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** A clock that stands still until `advance` is called; due callbacks then run in order of their time. */
export class VirtualClock implements Clock {
  #now: Millis;
  readonly #timers = new Set<{ at: Millis; callback: () => void }>();

  constructor(start: Millis = 1_700_000_000_000) {
    this.#now = start;
  }

  now(): Millis {
    return this.#now;
  }

  monotonic(): Millis {
    return this.#now;
  }

  after(ms: Millis, callback: () => void): Disposable {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  advance(ms: Millis): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#now = due.at;
      due.callback();
    }
    this.#now = end;
  }
}

/** Resolves after `ms`; rejects when the signal aborts. */
export function sleep(ms: Millis, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** Exponential back-off with full jitter above half: attempt 0 waits about `base`, never more than `max`. */
export function backoff(attempt: number, base: Millis, max: Millis, random: () => number = Math.random): Millis {
  const ceiling = Math.min(max, base * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling / 2 + (ceiling / 2) * random());
}
