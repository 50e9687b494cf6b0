/** Who waits for an instance of one revision, counted over all threads of the gateway, and how many instances are being
 *  started for them. Each thread keeps its own queue; here is what the others must know of it. */

import type { FnError } from '../../core/errors.ts';
import type { RevisionId } from '../../core/ids.ts';
import type { Millis } from '../../core/units.ts';
import { ticks } from './cell.ts';
import type { Rows } from './rows.ts';

/** The other threads of the gateway. Messages carry no facts, only that it is time to look. */
export interface Peers {
  /** Which thread this is, from 0, and how many there are. */
  readonly index: number;
  readonly count: number;
  /** A slot may be free for those who wait in that thread. */
  wake(thread: number, revision: RevisionId): void;
  /** A start failed that they may have relied on. */
  startFailed(thread: number, revision: RevisionId, failure: FnError): void;
}

/** A gateway of one thread. */
export const ALONE: Peers = { index: 0, count: 1, wake() {}, startFailed() {} };

const WAITING = 0;
const STARTING = 1;
const TURN = 2;
const PAUSED_UNTIL = 3;
/** One for each thread: how many wait there. */
const THREADS = 4;

export class Room implements Disposable {
  readonly #rows: Rows;
  readonly #cells: Int32Array;
  readonly #at: number;
  readonly #peers: Peers;

  constructor(rows: Rows, revision: string, peers: Peers) {
    this.#rows = rows;
    this.#cells = rows.cells;
    this.#at = rows.open(`revision ${revision}`).at;
    this.#peers = peers;
  }

  /** In all threads. */
  get waiting(): number {
    return Atomics.load(this.#cells, this.#at + WAITING);
  }

  get starting(): number {
    return Atomics.load(this.#cells, this.#at + STARTING);
  }

  enter(): void {
    Atomics.add(this.#cells, this.#at + THREADS + this.#peers.index, 1);
    Atomics.add(this.#cells, this.#at + WAITING, 1);
  }

  leave(): void {
    Atomics.sub(this.#cells, this.#at + WAITING, 1);
    Atomics.sub(this.#cells, this.#at + THREADS + this.#peers.index, 1);
  }

  /** Counts one more start, if their number is still that which the caller decided on. */
  start(starting: number): boolean {
    return Atomics.compareExchange(this.#cells, this.#at + STARTING, starting, starting + 1) === starting;
  }

  started(): void {
    Atomics.sub(this.#cells, this.#at + STARTING, 1);
  }

  /** Nobody starts anything for that long. */
  pause(now: Millis, forMillis: Millis): void {
    // 0 is "never paused"; being off by a millisecond is not.
    Atomics.store(this.#cells, this.#at + PAUSED_UNTIL, ticks(now + forMillis) || 1);
  }

  /** How long that still is; 0 or less when it is over. */
  pausedFor(now: Millis): Millis {
    const until = Atomics.load(this.#cells, this.#at + PAUSED_UNTIL);
    return until === 0 ? 0 : (until - ticks(now)) | 0;
  }

  /** Whose turn a free slot is: each thread where somebody waits, one after the other. */
  next(): number {
    const { count, index } = this.#peers;
    if (count === 1) return index;
    const turn = Atomics.add(this.#cells, this.#at + TURN, 1) >>> 0;
    for (let i = 0; i < count; i++) {
      const thread = (turn + i) % count;
      if (this.#waitingIn(thread) > 0) return thread;
    }
    return index;
  }

  /** The other threads in which somebody waits. */
  others(): number[] {
    const threads = Array.from({ length: this.#peers.count }, (_, thread) => thread);
    return threads.filter((thread) => thread !== this.#peers.index && this.#waitingIn(thread) > 0);
  }

  [Symbol.dispose](): void {
    this.#rows.close(this.#at);
  }

  #waitingIn(thread: number): number {
    return Atomics.load(this.#cells, this.#at + THREADS + thread);
  }
}
