/** Who is looked at next: names and nothing else, so that a missed, doubled or late one does no harm. Here a function is looked
 *  at once at a time, and once more when it was added meanwhile. Other controllers look by themselves, at what they see; what
 *  a look finds to do goes through act-queue.ts. A job in Redis for each look cost more than the look. */

import { setImmediate } from 'node:timers/promises';
import { sleep } from '../core/clock.ts';
import type { FunctionName } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';

const CONCURRENCY = 10;
const CLOSED_WITHIN: Millis = 5000;

export class LookQueue implements AsyncDisposable {
  readonly #look: (name: FunctionName) => Promise<void>;
  readonly #waiting = new Set<FunctionName>();
  readonly #active = new Map<FunctionName, Promise<void>>();
  #closing = false;

  /** @param look never rejects; a later look is the retry. */
  constructor(look: (name: FunctionName) => Promise<void>) {
    this.#look = look;
  }

  /** Has each looked at soon. */
  add(names: Iterable<FunctionName>): void {
    for (const name of names) this.#waiting.add(name);
    this.#next();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await Promise.race([Promise.all(this.#active.values()), sleep(CLOSED_WITHIN)]);
  }

  #next(): void {
    for (const name of this.#waiting) {
      if (this.#closing || this.#active.size >= CONCURRENCY) return;
      if (this.#active.has(name)) continue;
      this.#waiting.delete(name);
      this.#active.set(name, this.#run(name));
    }
  }

  async #run(name: FunctionName): Promise<void> {
    await setImmediate(); // Ten thousand that find nothing to do must not hold up the API.
    if (!this.#closing) await this.#look(name);
    this.#active.delete(name);
    this.#next();
  }
}
