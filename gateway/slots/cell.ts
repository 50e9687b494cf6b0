/** One instance as all threads of the gateway see it. Everything that decides whether it may be sent to is in one word: how
 *  many invocations it has, whether it is frozen, and why it takes no more. So a slot is taken by one compare-and-exchange,
 *  never above the limit, and excludes being frozen, unrouted or killed at the same moment.
 *
 *  How freezing and taking meet: the freezer marks the word `freezing` while it writes the cgroup's file, and turns that into
 *  `frozen` only if nobody took a slot meanwhile; else it thaws again. Whoever takes a slot of a frozen instance clears the
 *  mark, and thaws. So an invocation never stays in a frozen instance, and nobody waits for anybody. */

import type { Millis } from '../../core/units.ts';
import type { Rows } from './rows.ts';

const COUNT = 0xffff;
const USED = 1 << 16;
const FREEZING = 1 << 17;
const FROZEN = 1 << 18;

/** Why it takes no more. suspect: its connection broke and the worker is looking. draining: it finishes what it has. doomed:
 *  about to be killed. */
export const SUSPECT = 1 << 19;
export const DRAINING = 1 << 20;
export const DOOMED = 1 << 21;
const OUT = SUSPECT | DRAINING | DOOMED;
/** Its handler is being loaded. It takes invocations, which wait inside of it. */
export const LOADING = 1 << 22;

const WORD = 0;
/** Slots ever taken: two equal readings mean that nothing began between them. */
const TAKEN = 1;
const IDLE_SINCE = 2;
const LOADED_AT = 3;

/** A thread's own performance.now() begins with the thread; this is the same in all. */
const SINCE_BOOT: Millis = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now();

export class Cell implements Disposable {
  readonly #rows: Rows;
  readonly #cells: Int32Array;
  readonly #at: number;
  /** No other thread had it. */
  readonly isNew: boolean;

  // What the last `take` of this thread found.
  wasUsed = false;
  wasFrozen = false;
  /** Its freezer was at work, and will thaw it. */
  wasFreezing = false;
  /** It had nothing else in flight. */
  wasIdle = false;
  /** Slots taken before that one. */
  takenBefore = 0;

  constructor(rows: Rows, name: string) {
    const { at, isNew } = rows.open(`instance ${name}`);
    this.#rows = rows;
    this.#cells = rows.cells;
    this.#at = at;
    this.isNew = isNew;
    if (isNew) this.#rested(performance.now());
  }

  get inFlight(): number {
    return this.#word & COUNT;
  }

  /** It may be sent to, if it has a free slot. */
  get isOpen(): boolean {
    return (this.#word & OUT) === 0;
  }

  /** A slot was taken once. */
  get isUsed(): boolean {
    return (this.#word & USED) !== 0;
  }

  get isFrozen(): boolean {
    return (this.#word & FROZEN) !== 0;
  }

  get taken(): number {
    return Atomics.load(this.#cells, this.#at + TAKEN);
  }

  has(mark: number): boolean {
    return (this.#word & mark) !== 0;
  }

  /** False when it has no slot free, or takes no more. */
  take(limit: number): boolean {
    // Read first: who begins from now on counts as having run beside this one, even if by nanoseconds it did not.
    const taken = this.taken;
    for (;;) {
      const word = this.#word;
      if ((word & OUT) !== 0 || (word & COUNT) >= limit) return false;
      if (!this.#change(word, ((word | USED) & ~FROZEN) + 1)) continue;
      Atomics.add(this.#cells, this.#at + TAKEN, 1);
      this.takenBefore = taken;
      this.wasUsed = (word & USED) !== 0;
      this.wasFrozen = (word & FROZEN) !== 0;
      this.wasFreezing = (word & FREEZING) !== 0;
      this.wasIdle = (word & COUNT) === 0;
      return true;
    }
  }

  /** Its handler is loaded, or never will be. */
  loaded(now: Millis): void {
    Atomics.store(this.#cells, this.#at + LOADED_AT, tenths(now)); // First: whoever sees it loaded may ask since when.
    Atomics.and(this.#cells, this.#at + WORD, ~LOADING);
  }

  /** How long it has been ready, for those who were sent to it before. */
  readyFor(now: Millis): Millis {
    return this.has(LOADING) ? 0 : ((tenths(now) - Atomics.load(this.#cells, this.#at + LOADED_AT)) | 0) / 10;
  }

  release(now: Millis): void {
    this.#rested(now); // First: nobody may see it idle with the time of before.
    Atomics.sub(this.#cells, this.#at + WORD, 1);
  }

  mark(mark: number): void {
    Atomics.or(this.#cells, this.#at + WORD, mark);
  }

  /** @returns false when it has a mark already. */
  suspect(): boolean {
    for (;;) {
      const word = this.#word;
      if ((word & OUT) !== 0) return false;
      if (this.#change(word, word | SUSPECT)) return true;
    }
  }

  trust(): void {
    Atomics.and(this.#cells, this.#at + WORD, ~SUSPECT);
  }

  /** Marks it as draining, unless it is busy. */
  drainIfIdle(): boolean {
    for (;;) {
      const word = this.#word;
      if ((word & COUNT) !== 0) return false;
      if (this.#change(word, word | DRAINING)) return true;
    }
  }

  /** Has it frozen, when it has been idle for that long. One that takes no more must be able to finish. */
  rest(now: Millis, after: Millis, freezer: { freeze(): boolean; thaw(): void }): void {
    const word = this.#word;
    if ((word & (COUNT | OUT | LOADING | FREEZING | FROZEN)) !== 0) return;
    if (((ticks(now) - Atomics.load(this.#cells, this.#at + IDLE_SINCE)) | 0) < after) return;
    if (!this.#change(word, word | FREEZING)) return;
    let isFrozen = freezer.freeze();
    for (;;) {
      const present = this.#word;
      if (isFrozen && (present & (COUNT | OUT)) !== 0) {
        freezer.thaw(); // Before the mark goes: whoever saw it relies on us.
        isFrozen = false;
      }
      if (this.#change(present, (present & ~FREEZING) | (isFrozen ? FROZEN : 0))) return;
    }
  }

  [Symbol.dispose](): void {
    this.#rows.close(this.#at);
  }

  get #word(): number {
    return Atomics.load(this.#cells, this.#at + WORD);
  }

  #change(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#cells, this.#at + WORD, from, to) === from;
  }

  #rested(now: Millis): void {
    Atomics.store(this.#cells, this.#at + IDLE_SINCE, ticks(now));
  }
}

/** Milliseconds since boot in 32 bits; differences are right for 24 days. */
export function ticks(now: Millis): number {
  return (now + SINCE_BOOT) | 0;
}

/** The same in tenths of a millisecond; differences are right for two days. */
function tenths(now: Millis): number {
  return ((now + SINCE_BOOT) * 10) | 0;
}
