/** Stops an idle instance from using any cpu (timers that go on after the reply, polling, garbage collection) and wakes it
 *  for its next request. The gateway writes the cgroup file itself: a frozen instance can be thawed though the worker is
 *  away, and no message stands between a request and its instance. */

import { closeSync, openSync, writeSync } from 'node:fs';
import type { FreezerFile } from '../core/account.ts';

export class Freezer implements Disposable {
  readonly #file: FreezerFile;
  #fd = -1;

  constructor(file: FreezerFile) {
    this.#file = file;
  }

  /** False when it could not be. */
  freeze(): boolean {
    return this.#write(this.#file.freeze);
  }

  thaw(): void {
    this.#write(this.#file.thaw);
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  /** False when the group is gone: then its instance is too, and whoever sends to it learns so. */
  #write(state: string): boolean {
    try {
      if (this.#fd < 0) this.#fd = openSync(this.#file.path, 'r+');
      writeSync(this.#fd, state, 0);
      return true;
    } catch {
      return false;
    }
  }
}
