/** The store in memory, for tests and simulations. Same suite as the Redis one. */

import type { Kind, Records } from '../records.ts';
import { type Change, ConflictError, type PutOptions, type Store, type Stored } from './store.ts';

export class MemoryStore implements Store {
  readonly #records = new Map<Kind, Map<string, { version: number; json: string }>>();
  readonly #watchers = new Set<(change: Change) => void>();
  readonly #latest = new Map<Kind, number>();
  #version = 0;

  async get<K extends Kind>(kind: K, key: string): Promise<Stored<Records[K]> | undefined> {
    const found = this.#of(kind).get(key);
    return found && { key, version: found.version, value: JSON.parse(found.json) as Records[K] };
  }

  async list<K extends Kind>(kind: K): Promise<Stored<Records[K]>[]> {
    return [...this.#of(kind)].map(([key, { version, json }]) => ({
      key,
      version,
      value: JSON.parse(json) as Records[K],
    }));
  }

  async latest(kind: Kind): Promise<number> {
    return this.#latest.get(kind) ?? 0;
  }

  async put<K extends Kind>(kind: K, key: string, value: Records[K], options: PutOptions = {}): Promise<number> {
    this.#check(kind, key, options);
    const version = ++this.#version;
    this.#latest.set(kind, version);
    this.#of(kind).set(key, { version, json: JSON.stringify(value) });
    this.#announce({ kind, key });
    return version;
  }

  async delete(kind: Kind, key: string, options: PutOptions = {}): Promise<boolean> {
    this.#check(kind, key, options);
    const existed = this.#of(kind).delete(key);
    if (existed) {
      this.#latest.set(kind, ++this.#version);
      this.#announce({ kind, key });
    }
    return existed;
  }

  async watch(kinds: readonly Kind[], onChange: (change: Change) => void): Promise<AsyncDisposable> {
    const watcher = (change: Change): void => {
      if (kinds.includes(change.kind)) onChange(change);
    };
    this.#watchers.add(watcher);
    return { [Symbol.asyncDispose]: async () => void this.#watchers.delete(watcher) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watchers.clear();
  }

  #of(kind: Kind): Map<string, { version: number; json: string }> {
    let records = this.#records.get(kind);
    if (!records) this.#records.set(kind, (records = new Map()));
    return records;
  }

  #check(kind: Kind, key: string, { ifVersion, ifLatest }: PutOptions): void {
    const latest = this.#latest.get(kind) ?? 0;
    if (ifLatest !== undefined && ifLatest !== latest) {
      throw new ConflictError(`${kind} records are at version ${latest}, not ${ifLatest}`);
    }
    const actual = this.#of(kind).get(key)?.version ?? 0;
    if (ifVersion !== undefined && ifVersion !== actual) {
      throw new ConflictError(`${kind} ${key} is at version ${actual}, not ${ifVersion}`);
    }
  }

  #announce(change: Change): void {
    queueMicrotask(() => {
      for (const watcher of this.#watchers) watcher(change);
    });
  }
}
