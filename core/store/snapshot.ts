/** A copy of some kinds of records in memory, kept fresh by the change stream and by listing everything again every few
 *  seconds. Reads never leave the process. While the store is away the last known state stays. */

import { type Clock, systemClock } from '../clock.ts';
import type { Kind, Records } from '../records.ts';
import type { Millis } from '../units.ts';
import type { Change, Store, Stored } from './store.ts';

/** Bounds how long a missed change can go unnoticed. */
const RESYNC_EVERY: Millis = 5000;

export interface SnapshotOptions {
  /** Called after a record of the kinds changed here; `undefined` value means it is gone. */
  readonly onChange?: (change: Change) => void;
  readonly onError?: (error: unknown) => void;
  readonly clock?: Clock;
}

export class Snapshot implements AsyncDisposable {
  readonly #store: Store;
  readonly #kinds: readonly Kind[];
  readonly #options: SnapshotOptions;
  readonly #records = new Map<Kind, Map<string, Stored<unknown>>>();
  readonly #listeners = new Set<(change: Change) => void>();
  /** Each kind's latest version before it was last listed. */
  readonly #listed = new Map<Kind, number>();
  #watch: AsyncDisposable | undefined;
  #timer: Disposable | undefined;
  #closed = false;

  private constructor(store: Store, kinds: readonly Kind[], options: SnapshotOptions) {
    this.#store = store;
    this.#kinds = kinds;
    this.#options = options;
    for (const kind of kinds) this.#records.set(kind, new Map());
  }

  /** Resolves once the first full read is in. */
  static async open(store: Store, kinds: readonly Kind[], options: SnapshotOptions = {}): Promise<Snapshot> {
    const snapshot = new Snapshot(store, kinds, options);
    snapshot.#watch = await store.watch(kinds, (change) => void snapshot.#refresh(change));
    await snapshot.resync();
    snapshot.#schedule();
    return snapshot;
  }

  get<K extends Kind>(kind: K, key: string): Records[K] | undefined {
    return this.#records.get(kind)?.get(key)?.value as Records[K] | undefined;
  }

  values<K extends Kind>(kind: K): Records[K][] {
    return [...(this.#records.get(kind)?.values() ?? [])].map((stored) => stored.value as Records[K]);
  }

  /** Calls back for each change from now on, until disposed. */
  subscribe(onChange: (change: Change) => void): Disposable {
    this.#listeners.add(onChange);
    return { [Symbol.dispose]: () => void this.#listeners.delete(onChange) };
  }

  /** Lists every kind in which something was written since it was last listed, and reports what differs. With ten thousand
   *  functions a list is 100 ms of parsing, in a process that may have requests to answer. */
  async resync(): Promise<void> {
    for (const kind of this.#kinds) {
      const latest = await this.#store.latest(kind);
      if (latest > 0 && latest === this.#listed.get(kind)) continue;
      const fresh = await this.#store.list(kind);
      const keys = new Set(fresh.map((stored) => stored.key));
      for (const stored of fresh) this.#apply(kind, stored.key, stored);
      for (const key of this.#records.get(kind)?.keys() ?? []) if (!keys.has(key)) this.#apply(kind, key, undefined);
      this.#listed.set(kind, latest);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    await this.#watch?.[Symbol.asyncDispose]();
  }

  #schedule(): void {
    this.#timer = (this.#options.clock ?? systemClock).after(RESYNC_EVERY, () => {
      void this.resync()
        .catch((error: unknown) => this.#options.onError?.(error))
        .finally(() => this.#closed || this.#schedule());
    });
  }

  async #refresh({ kind, key }: Change): Promise<void> {
    if (this.#closed) return;
    try {
      this.#apply(kind, key, await this.#store.get(kind, key));
    } catch (error) {
      this.#options.onError?.(error); // The next resync brings it.
    }
  }

  /** Takes a record unless we already hold a newer one: a get and a list may overtake each other. */
  #apply(kind: Kind, key: string, stored: Stored<unknown> | undefined): void {
    const records = this.#records.get(kind);
    const held = records?.get(key);
    if (!records || held?.version === stored?.version || (stored && held && stored.version < held.version)) return;
    if (stored) records.set(key, stored);
    else records.delete(key);
    this.#options.onChange?.({ kind, key });
    for (const listener of this.#listeners) listener({ kind, key });
  }
}
