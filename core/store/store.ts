/** Desired and observed state. A record has a version that only grows; a write may demand the version it read. Watchers
 *  are told which key changed, never what it changed to, and may miss changes: readers list again every few seconds.
 *  Two implementations (Redis, memory) pass one conformance suite, test/core/store-conformance.ts. */

import type { Kind, Records } from '../records.ts';

export interface Stored<T> {
  readonly key: string;
  /** Grows with every write to any record; a record deleted and made again never repeats one. */
  readonly version: number;
  readonly value: T;
}

export interface Change {
  readonly kind: Kind;
  readonly key: string;
}

export interface PutOptions {
  /** Write only if the record is at this version; 0 means it must not exist. Else ConflictError. */
  readonly ifVersion?: number;
  /** Write only if no record of the kind was written or deleted since `latest` said this. Else ConflictError. So a decision
   *  that rests on all of them (is this route free?) is still true at the moment it is written. */
  readonly ifLatest?: number;
}

export interface Store extends AsyncDisposable {
  get<K extends Kind>(kind: K, key: string): Promise<Stored<Records[K]> | undefined>;
  list<K extends Kind>(kind: K): Promise<Stored<Records[K]>[]>;
  /** The version of the last write or deletion among the kind: unchanged means that a list would say nothing new. 0 when
   *  unknown. */
  latest(kind: Kind): Promise<number>;
  /** Returns the new version. */
  put<K extends Kind>(kind: K, key: string, value: Records[K], options?: PutOptions): Promise<number>;
  /** False when there was nothing to delete. */
  delete(kind: Kind, key: string, options?: PutOptions): Promise<boolean>;
  /** Calls back for each change of these kinds after this moment, in order, until disposed. Survives reconnects, may then skip
   *  some. What is wanted (functions, revisions, keys, secrets) and what is (instances, nodes) may overtake each other. */
  watch(kinds: readonly Kind[], onChange: (change: Change) => void): Promise<AsyncDisposable>;
}

/** The record changed since it was read. Read again and decide anew. */
export class ConflictError extends Error {
  override readonly name = 'ConflictError';
}

/** Reads, changes, writes; again when someone else was faster. `change` returns undefined to leave the record alone. */
export async function update<K extends Kind>(
  store: Store,
  kind: K,
  key: string,
  change: (current: Records[K] | undefined) => Records[K] | undefined,
): Promise<Records[K] | undefined> {
  for (let attempt = 0; ; attempt++) {
    const current = await store.get(kind, key);
    const next = change(current?.value);
    if (next === undefined) return current?.value;
    try {
      await store.put(kind, key, next, { ifVersion: current?.version ?? 0 });
      return next;
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt >= 20) throw error;
    }
  }
}
