/** Counts that every thread of the gateway sees: rows of integers in one SharedArrayBuffer. A row is found by a name, made by
 *  whoever opens it first and reused once everyone has closed it, so the threads need not tell each other where it is.
 *  Opening and closing take a lock and cost microseconds; requests only touch rows that are open, with Atomics.
 *
 *  A hash table: bucket heads, then rows of 64 bytes (or a multiple), so that counting in one does not take the cache line
 *  of another from a neighbour's core. Names are kept as 64 bits of their SHA-1; two that share them are one chance in 10^11
 *  with a table that is full. */

import { hash } from 'node:crypto';
import { FnError } from '../../core/errors.ts';

const ROWS_MAX = 131_072;
const BUCKETS = 16_384;
/** Integers of a row that belong to the table: two of the name, how often it is open, and the next row of its bucket. */
const OWN = 4;
/** Integers of a row for its user, besides one for each thread. */
const FIELDS = 4;

// Of the table's first integers.
const LOCK = 0;
const USED = 1;
const FREE = 2;
const WIDTH = 3;
const HEADS = 16;
const ROWS = HEADS + BUCKETS;
// Of a row's.
const LOW = 0;
const HIGH = 1;
const OPENED = 2;
const NEXT = 3;

/** Memory for a table that this many threads share. Pages that no row is in cost nothing. */
export function sharedRows(threads: number): SharedArrayBuffer {
  const width = Math.ceil((OWN + FIELDS + threads) / 16) * 16;
  const memory = new SharedArrayBuffer(4 * (ROWS + width * (ROWS_MAX + 1)));
  new Int32Array(memory)[WIDTH] = width;
  return memory;
}

export interface Row {
  /** Where its integers begin. */
  readonly at: number;
  /** Nobody else had it open; its integers are 0. */
  readonly isNew: boolean;
}

export class Rows {
  readonly cells: Int32Array;
  readonly #width: number;

  constructor(memory: SharedArrayBuffer) {
    this.cells = new Int32Array(memory);
    this.#width = this.cells[WIDTH]!;
  }

  open(name: string): Row {
    const digest = hash('sha1', name, 'buffer');
    const low = digest.readInt32LE(0);
    const high = digest.readInt32LE(4);
    return this.#locked((cells) => {
      const head = headOf(high);
      for (let row = cells[head]!; row !== 0; row = cells[this.#place(row) + NEXT]!) {
        const place = this.#place(row);
        if (cells[place + LOW] !== low || cells[place + HIGH] !== high) continue;
        cells[place + OPENED]! += 1;
        return { at: place + OWN, isNew: false };
      }
      const row = this.#make(cells);
      const place = this.#place(row);
      cells.fill(0, place, place + this.#width);
      cells[place + LOW] = low;
      cells[place + HIGH] = high;
      cells[place + OPENED] = 1;
      cells[place + NEXT] = cells[head]!;
      cells[head] = row;
      return { at: place + OWN, isNew: true };
    });
  }

  /** Once for each `open`. */
  close(at: number): void {
    const place = at - OWN;
    this.#locked((cells) => {
      cells[place + OPENED]! -= 1;
      if (cells[place + OPENED]! > 0) return;
      let link = headOf(cells[place + HIGH]!);
      while (this.#place(cells[link]!) !== place) link = this.#place(cells[link]!) + NEXT;
      const row = cells[link]!;
      cells[link] = cells[place + NEXT]!;
      cells[place + NEXT] = cells[FREE]!;
      cells[FREE] = row;
    });
  }

  #make(cells: Int32Array): number {
    const free = cells[FREE]!;
    if (free !== 0) {
      cells[FREE] = cells[this.#place(free) + NEXT]!;
      return free;
    }
    if (cells[USED]! >= ROWS_MAX) {
      throw new FnError('capacity.node_full', `${ROWS_MAX} functions, revisions and instances are in use`);
    }
    cells[USED]! += 1;
    return cells[USED]!;
  }

  /** @param row counted from 1; 0 is none. */
  #place(row: number): number {
    return ROWS + row * this.#width;
  }

  #locked<T>(work: (cells: Int32Array) => T): T {
    const { cells } = this;
    while (Atomics.compareExchange(cells, LOCK, 0, 1) !== 0) Atomics.wait(cells, LOCK, 1, 1);
    try {
      return work(cells);
    } finally {
      Atomics.store(cells, LOCK, 0);
      Atomics.notify(cells, LOCK, 1);
    }
  }
}

function headOf(high: number): number {
  return HEADS + ((high >>> 0) % BUCKETS);
}
