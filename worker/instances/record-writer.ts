/** Writes instance records behind the work: the last state of each instance reaches the store, in order, however long Redis
 *  is away. Nothing that serves a request waits for it. */

import { sleep } from '../../core/clock.ts';
import type { InstanceId } from '../../core/ids.ts';
import type { InstanceRecord } from '../../core/records.ts';
import type { Store } from '../../core/store/store.ts';
import type { Millis } from '../../core/units.ts';

const RETRY_AFTER: Millis = 300;

export class RecordWriter {
  readonly #store: Store;
  readonly #dirty = new Map<InstanceId, InstanceRecord>();
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(store: Store) {
    this.#store = store;
  }

  write(record: InstanceRecord): void {
    this.#dirty.set(record.id, record);
    this.#writing ??= this.#flush().finally(() => (this.#writing = undefined));
  }

  /** Resolves when all is written, or after `within` when Redis stays away. */
  async close(within: Millis): Promise<void> {
    await Promise.race([this.#writing, sleep(within)]);
    this.#closed = true;
  }

  async #flush(): Promise<void> {
    for (;;) {
      const [next] = this.#dirty.values();
      if (!next || this.#closed) return;
      try {
        await this.#store.put('instance', next.id, next);
        if (this.#dirty.get(next.id) === next) this.#dirty.delete(next.id);
      } catch {
        await sleep(RETRY_AFTER); // Redis is away; `fn status` says so.
      }
    }
  }
}
