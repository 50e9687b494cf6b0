/** The functions as this gateway knows them: where each one's requests go, the instances that take them, and what is counted.
 *  Fed by a snapshot of the store and by the worker; reads on the hot path never leave the process. */

import type { Clock } from '../core/clock.ts';
import type { Config } from '../core/config.ts';
import { splitCallee } from '../core/aliases.ts';
import { FnError, toFnError } from '../core/errors.ts';
import type { FunctionName, RevisionId } from '../core/ids.ts';
import type { InvocationWriter } from '../core/invocation-log.ts';
import type { Log } from '../core/log.ts';
import type { LoadReport, RevisionRecord } from '../core/records.ts';
import type { Tracer } from '../core/tracer.ts';
import { Snapshot } from '../core/store/snapshot.ts';
import type { Change, Store } from '../core/store/store.ts';
import { nextWeighted } from './balancer.ts';
import type { Autopsy } from './control.ts';
import { Fleet } from './fleet.ts';
import type { InvocationOwner } from './invocation.ts';
import type { Busy, Ledger } from './ledger.ts';
import { LoadTable } from './load.ts';
import { type FunctionRoute, RouteTable, type TrafficTarget } from './routes.ts';
import type { Group } from './slots/group.ts';
import type { Instance } from './slots/instance.ts';
import type { Peers } from './slots/room.ts';
import type { Rows } from './slots/rows.ts';
import { Slots } from './slots/slots.ts';
import { ThreadFacts } from './slots/thread-facts.ts';
import { keyOf, stickTo } from './sticky.ts';
import type { Tally } from './tally.ts';

export interface FunctionsOptions {
  readonly config: Pick<Config, 'freezeAfter' | 'waitingLimit' | 'waitingTotal'>;
  readonly gateway: string;
  readonly store: Store;
  readonly ledger: Ledger;
  /** Where records of invocations go. */
  readonly invocations: InvocationWriter | undefined;
  /** Shared with the other threads of the gateway. */
  readonly rows: Rows;
  readonly peers: Peers;
  /** Where spans go. */
  readonly tracer: Tracer | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** A function is no more. */
  readonly onRemoved: (name: FunctionName) => void;
}

export class Functions implements InvocationOwner, AsyncDisposable {
  readonly routes = new RouteTable();
  readonly tracer: Tracer | undefined;
  readonly #options: FunctionsOptions;
  /** What the worker gives and takes. */
  readonly fleet: Fleet;
  readonly facts: ThreadFacts;
  readonly #loads: LoadTable;
  readonly #slots: Slots;
  readonly #snapshot: Snapshot;
  #tidying = false;

  private constructor(options: FunctionsOptions, snapshot: Snapshot) {
    const { config, store, rows, peers, clock, log } = options;
    this.#options = options;
    this.tracer = options.tracer;
    this.#snapshot = snapshot;
    this.facts = new ThreadFacts(rows, peers.index);
    this.#loads = new LoadTable(rows, { each: config.waitingLimit, all: config.waitingTotal }, this.facts);
    this.#slots = new Slots({
      acquire: (name, revision) => this.fleet.acquire(name, revision),
      rows,
      peers,
      clock,
    });
    this.fleet = new Fleet({
      slots: this.#slots,
      loads: this.#loads,
      revision: async (id) => this.#revision(id) ?? (await store.get('revision', id))?.value,
      clock,
      log,
    });
    for (const record of snapshot.values('function')) this.#setRoute(record.name);
  }

  /** Reads the records. The worker is attached to the fleet afterwards. */
  static async open(options: FunctionsOptions): Promise<Functions> {
    let functions: Functions | undefined;
    const snapshot = await Snapshot.open(options.store, ['function', 'revision'], {
      onChange: (change) => functions && functions.#changed(change),
      onError: (error) => options.log.debug({ err: toFnError(error) }, 'snapshot not refreshed'),
    });
    functions = new Functions(options, snapshot);
    return functions;
  }

  groupFor(callee: string, fields: string): Group {
    const route = this.routes.get(callee);
    if (!route) throw notFound(callee, this.routes);
    const target = targetFor(route, fields);
    if (!target) throw new FnError('function.not_ready', `${callee} has no ready revision`, { retryAfterS: 1 });
    return this.#slots.group(target.revision, this.#loads.of(target.revision, this.#options.clock.monotonic()));
  }

  kill(instance: Instance, reason: 'timeout' | 'used', invocation: string): Promise<void> {
    return this.fleet.kill(instance, reason, invocation);
  }

  autopsy(instance: Instance): Promise<Autopsy> {
    return this.fleet.autopsy(instance);
  }

  finished(revision: RevisionRecord, tally: Tally): void {
    const { ledger, invocations, log } = this.#options;
    ledger.answered(revision.function, tally);
    if (log.isLevelEnabled('debug')) log.debug(tally.record(revision.id), 'invocation');
    if (tally.trace?.sampled) this.tracer?.record(tally.span(revision, tally.trace));
    if (invocations?.hasRoom) invocations.add(revision.function, tally.record(revision.id));
  }

  failed(error: FnError): void {
    const { ledger, log } = this.#options;
    ledger.error(error.code);
    if (error.code === 'internal') log.error({ err: error.cause ?? error }, 'request failed');
  }

  report(): LoadReport {
    const { gateway, clock } = this.#options;
    return this.#loads.report(gateway, clock.now(), clock.monotonic());
  }

  /** Freezes the instances that have been idle for a while. */
  rest(): void {
    const { clock, config } = this.#options;
    if (config.freezeAfter === 0) return;
    const now = clock.monotonic();
    for (const instance of this.#slots.instances()) instance.rest(now, config.freezeAfter);
  }

  /** What is busy, by function. */
  busy(): Map<FunctionName, Busy> {
    return this.#loads.busy();
  }

  /** Another thread has freed a slot, or knows that there may be one. */
  wake(revision: RevisionId): void {
    this.#slots.known(revision)?.advance();
  }

  /** Another thread's start has failed. */
  startFailed(revision: RevisionId, failure: FnError): void {
    this.#slots.known(revision)?.startFailed(failure);
  }

  /** Where a function's requests go. */
  revisionsOf(name: string): RevisionId[] {
    return (this.routes.get(name)?.targets ?? []).map(({ revision }) => revision.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const instance of this.#slots.instances()) this.#slots.remove(instance.info.id);
    await this.#snapshot[Symbol.asyncDispose]();
  }

  #revision(id: RevisionId): RevisionRecord | undefined {
    return this.#snapshot.get('revision', id);
  }

  #setRoute(name: FunctionName): void {
    this.routes.set(name, this.#snapshot.get('function', name), (id) => this.#revision(id));
  }

  #changed({ kind, key }: Change): void {
    if (kind === 'function') this.#setRoute(key as FunctionName);
    else {
      const name = this.#revision(key as RevisionId)?.function;
      if (name !== undefined) this.#setRoute(name);
    }
    if (this.#tidying) return;
    this.#tidying = true;
    setImmediate(() => this.#tidy()); // Once for all changes that came together.
  }

  /** Moves those who wait at revisions that nothing leads to any more, and forgets what no longer exists. */
  #tidy(): void {
    this.#tidying = false;
    const reachable = this.routes.reachable();
    this.#slots.prune((revision) => reachable.has(revision));
    this.#loads.prune((revision) => reachable.has(revision));
    for (const name of this.#options.ledger.names()) {
      if (!this.routes.get(name)) {
        this.#options.ledger.forget(name);
        this.#options.onRemoved(name);
      }
    }
  }
}

function targetFor({ targets, sticky }: FunctionRoute, fields: string): TrafficTarget | undefined {
  if (targets.length === 1) return targets[0];
  const key = sticky && keyOf(fields, sticky);
  return key === undefined ? nextWeighted(targets) : stickTo(targets, key);
}

function notFound(callee: string, routes: RouteTable): FnError {
  const { name, qualifier } = splitCallee(callee.slice(0, 100));
  if (qualifier !== undefined && routes.get(name)) {
    return new FnError(
      'alias.not_found',
      `${name} has no alias, nor a revision with traffic, that is called ${qualifier}`,
    );
  }
  return new FnError('function.not_found', `there is no function ${name.slice(0, 60)}`);
}
