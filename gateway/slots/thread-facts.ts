/** How busy one thread of the gateway is, where the coordinator can read it at any time without asking. Each thread writes its
 *  own row, in cache lines nobody else writes to. */

import type { Rows } from './rows.ts';

export interface Facts {
  readonly connections: number;
  readonly inFlight: number;
  readonly waiting: number;
  readonly instances: number;
}

const IN_FLIGHT = 0;
const WAITING = 1;
const INSTANCES = 2;
const CONNECTIONS = 3;

export class ThreadFacts {
  readonly #cells: Int32Array;
  readonly #at: number;

  /** It is there as long as the gateway. */
  constructor(rows: Rows, index: number) {
    this.#cells = rows.cells;
    this.#at = rows.open(`thread ${index}`).at;
  }

  inFlight(by: 1 | -1): void {
    Atomics.add(this.#cells, this.#at + IN_FLIGHT, by);
  }

  waiting(by: 1 | -1): void {
    Atomics.add(this.#cells, this.#at + WAITING, by);
  }

  instances(by: 1 | -1): void {
    Atomics.add(this.#cells, this.#at + INSTANCES, by);
  }

  set connections(count: number) {
    Atomics.store(this.#cells, this.#at + CONNECTIONS, count);
  }

  read(): Facts {
    const read = (field: number): number => Atomics.load(this.#cells, this.#at + field);
    return {
      connections: read(CONNECTIONS),
      inFlight: read(IN_FLIGHT),
      waiting: read(WAITING),
      instances: read(INSTANCES),
    };
  }
}

/** Of the whole gateway. All threads know the same instances. */
export function sumOf(threads: readonly Facts[]): Facts {
  const sum = (key: keyof Facts): number => threads.reduce((total, one) => total + one[key], 0);
  return {
    connections: sum('connections'),
    inFlight: sum('inFlight'),
    waiting: sum('waiting'),
    instances: Math.max(0, ...threads.map(({ instances }) => instances)),
  };
}
