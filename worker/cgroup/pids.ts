/** Tasks, threads included: how many there may be, how many there are, how often a fork was refused. Same files on v1 (since
 *  Linux 4.3) and v2. */

import { join } from 'node:path';
import { control, field, OpenFile } from './file.ts';

export interface PidsStats {
  readonly pids: number;
  readonly forksRefused: number;
}

export class Pids implements Disposable {
  readonly #dir: string;
  readonly #current: OpenFile;
  readonly #events: OpenFile;

  constructor(dir: string) {
    this.#dir = dir;
    this.#current = new OpenFile(join(dir, 'pids.current'));
    this.#events = new OpenFile(join(dir, 'pids.events'));
  }

  setLimit(pids: number): void {
    control(join(this.#dir, 'pids.max'), pids);
  }

  stats(): PidsStats {
    return { pids: this.#current.number(), forksRefused: field(this.#events.text(), 'max') };
  }

  [Symbol.dispose](): void {
    this.#current[Symbol.dispose]();
    this.#events[Symbol.dispose]();
  }
}
