/** The store as the controller sees it: a snapshot with an index by function, so that looking at one function costs the
 *  same however many there are. */

import { type FunctionName, functionOf, type InstanceId, type NodeId, type RevisionId } from '../core/ids.ts';
import type { FunctionRecord, InstanceRecord, Kind, NodeRecord, RevisionRecord } from '../core/records.ts';
import { Snapshot } from '../core/store/snapshot.ts';
import type { Change, Store } from '../core/store/store.ts';

const KINDS: readonly Kind[] = ['function', 'revision', 'instance', 'node'];

export class View implements AsyncDisposable {
  readonly #snapshot: Snapshot;
  readonly #instances: Index<InstanceId>;
  readonly #revisions: Index<RevisionId>;

  private constructor(snapshot: Snapshot, instances: Index<InstanceId>, revisions: Index<RevisionId>) {
    this.#snapshot = snapshot;
    this.#instances = instances;
    this.#revisions = revisions;
  }

  static async open(store: Store, onError: (error: unknown) => void): Promise<View> {
    const instances = new Index<InstanceId>();
    const revisions = new Index<RevisionId>();
    // Keys are indexed even when the record is gone; readers skip those. A key that is gone leaves the index here.
    const changed = ({ kind, key }: Change): void => {
      if (kind !== 'instance' && kind !== 'revision') return;
      const gone = snapshot !== undefined && snapshot.get(kind, key) === undefined;
      if (kind === 'instance') instances.set(functionOf(key), key as InstanceId, gone);
      else revisions.set(functionOf(key), key as RevisionId, gone);
    };
    let snapshot: Snapshot | undefined;
    snapshot = await Snapshot.open(store, KINDS, { onChange: changed, onError });
    return new View(snapshot, instances, revisions);
  }

  /** Calls back whenever a function's record, one of its revisions or one of its instances changed. */
  subscribe(onChange: (name: FunctionName, kind: Kind) => void): void {
    this.#snapshot.subscribe(({ kind, key }) => {
      if (kind !== 'node') onChange(kind === 'function' ? (key as FunctionName) : functionOf(key), kind);
    });
  }

  function(name: FunctionName): FunctionRecord | undefined {
    return this.#snapshot.get('function', name);
  }

  functions(): FunctionRecord[] {
    return this.#snapshot.values('function');
  }

  revision(id: RevisionId): RevisionRecord | undefined {
    return this.#snapshot.get('revision', id);
  }

  revisions(name: FunctionName): RevisionRecord[] {
    return this.#revisions.of(name).flatMap((id) => this.#snapshot.get('revision', id) ?? []);
  }

  /** The revision that has most of the traffic. */
  liveRevision(fn: FunctionRecord): RevisionRecord | undefined {
    const main = fn.traffic.toSorted((a, b) => b.weight - a.weight)[0];
    return main && this.revision(main.revision);
  }

  instances(name: FunctionName): InstanceRecord[] {
    return this.#instances.of(name).flatMap((id) => this.#snapshot.get('instance', id) ?? []);
  }

  nodes(): NodeRecord[] {
    return this.#snapshot.values('node');
  }

  /** Nodes that instances name, whether or not there is a record of them. */
  referredNodes(): Set<NodeId> {
    return new Set(this.#snapshot.values('instance').flatMap((one) => (one.end ? [] : [one.node])));
  }

  /** Every function, and every name that an instance carries without its function. */
  names(): Set<FunctionName> {
    return new Set([...this.functions().map((fn) => fn.name), ...this.#instances.names()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshot[Symbol.asyncDispose]();
  }
}

class Index<Id extends string> {
  readonly #ids = new Map<FunctionName, Set<Id>>();

  set(name: FunctionName, id: Id, gone: boolean): void {
    const ids = this.#ids.get(name) ?? new Set<Id>();
    if (gone) ids.delete(id);
    else ids.add(id);
    if (ids.size > 0) this.#ids.set(name, ids);
    else this.#ids.delete(name);
  }

  of(name: FunctionName): Id[] {
    return [...(this.#ids.get(name) ?? [])];
  }

  names(): FunctionName[] {
    return [...this.#ids.keys()];
  }
}
