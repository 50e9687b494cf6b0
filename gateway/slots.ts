/** Who may send to which instance, and who waits. Every invocation holds a slot of one instance from before its first byte
 *  leaves until the instance is done with it, so an instance never has more than `concurrency` at once. Whoever finds no
 *  free slot waits, first come first served, in a bounded room, while the worker is asked for as many instances as it takes.
 *  Nothing polls: a slot that becomes free, an instance that becomes ready and a start that fails each wake whom they must. */

import type { Clock } from '../core/clock.ts';
import type { RoutableInstance } from '../core/control.ts';
import { FnError, toFnError } from '../core/errors.ts';
import type { FunctionName, InstanceId, RevisionId } from '../core/ids.ts';
import type { RevisionRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';
import { leastLoaded, startsNeeded } from './balancer.ts';
import type { RevisionLoad } from './load.ts';
import { Freezer } from './freezer.ts';
import { UpstreamPool } from './upstream.ts';
import { Usage } from './usage.ts';

/** ready: takes requests. suspect: its connection broke and the worker is looking. draining: finishes what it has. doomed:
 *  about to be killed. */
type State = 'ready' | 'suspect' | 'draining' | 'doomed';

export class Instance {
  readonly info: RoutableInstance;
  readonly group: Group;
  readonly pool: UpstreamPool;
  /** Fields of every reply that comes from it. */
  readonly replyFields: string;
  state: State = 'ready';
  inFlight = 0;
  #idleSince: Millis = performance.now();
  readonly #freezer: Freezer | undefined;
  /** Measures what invocations use; absent where nobody said how. */
  readonly usage: Usage | undefined;
  /** It has answered before; its first invocation reports how it started. */
  used = false;
  readonly #idleWaiters = new Set<() => void>();

  constructor(info: RoutableInstance, group: Group) {
    this.info = info;
    this.group = group;
    this.pool = new UpstreamPool(info.socket);
    this.#freezer = info.freezer && new Freezer(info.freezer);
    this.#freezer?.thaw();
    this.usage = info.account && new Usage(info.account);
    this.replyFields = `x-fn-instance: ${info.id}\r\nx-fn-revision: ${info.revision}\r\n`;
  }

  get concurrency(): number {
    return this.info.concurrency;
  }

  /** The invocation that held a slot is over. */
  release(): void {
    this.inFlight--;
    if (this.inFlight === 0) {
      this.#idleSince = performance.now();
      for (const wake of this.#idleWaiters) wake();
      this.#idleWaiters.clear();
    }
    this.group.released();
  }

  /** Before a request goes out. True when it was frozen. */
  wake(): boolean {
    if (!this.#freezer?.frozen) return false;
    this.#freezer.thaw();
    return true;
  }

  /** Freezes it when it has been idle for that long. One that is being stopped must be able to finish. */
  rest(now: Millis, after: Millis): void {
    if (this.inFlight > 0 || this.state !== 'ready' || now - this.#idleSince < after) return;
    if (this.#freezer && !this.#freezer.frozen) this.#freezer.freeze();
  }

  /** It is no longer ours. */
  drop(): void {
    this.pool.close();
    this.#freezer?.[Symbol.dispose]();
    this.usage?.[Symbol.dispose]();
  }

  /** Resolves to true when nothing is in flight, to false when that took longer than `within`. */
  idle(within: Millis, clock: Clock): Promise<boolean> {
    if (this.inFlight === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const wake = (): void => {
        timer[Symbol.dispose]();
        resolve(true);
      };
      const timer = clock.after(within, () => {
        this.#idleWaiters.delete(wake);
        resolve(false);
      });
      this.#idleWaiters.add(wake);
    });
  }
}

/** A request without a slot. Exactly one of the three is called, unless it leaves first. */
export interface Waiter {
  granted(instance: Instance, waited: boolean): void;
  refused(error: FnError): void;
  /** Its revision gets no traffic any more: look again where to go. */
  moved(): void;
}

export interface GroupOptions {
  readonly acquire: (name: FunctionName, revision: RevisionId) => Promise<RoutableInstance>;
  readonly waitingLimit: number;
  readonly clock: Clock;
}

/** How long we leave the worker alone after it refused another instance and some are running. */
const RETRY_START_AFTER: Millis = 500;
/** And when none of those that count is ours: it is about to be gone, or about to be ours. */
const RETRY_CAPPED_AFTER: Millis = 50;

/** The instances of one revision, and the requests that wait for one. */
export class Group {
  readonly revision: RevisionRecord;
  readonly load: RevisionLoad;
  readonly #options: GroupOptions;
  #instances: Instance[] = [];
  readonly #waiting = new Map<Waiter, Disposable>();
  #starting = 0;
  #pause: Disposable | undefined;

  constructor(revision: RevisionRecord, load: RevisionLoad, options: GroupOptions) {
    this.revision = revision;
    this.load = load;
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#instances.length === 0 && this.#waiting.size === 0 && this.#starting === 0;
  }

  /** A slot, at once or not at all. Nobody overtakes those who wait. */
  take(): Instance | undefined {
    if (this.#waiting.size > 0) return undefined;
    const instance = leastLoaded(this.#instances);
    if (instance) instance.inFlight++;
    return instance;
  }

  /** Waits for a slot, at most `timeout`. */
  wait(waiter: Waiter, timeout: Millis): void {
    const { waitingLimit, clock } = this.#options;
    if (this.#waiting.size >= waitingLimit) {
      const detail = `${this.#waiting.size} requests wait for ${this.revision.function} already`;
      waiter.refused(new FnError('capacity.queue_full', detail, { retryAfterS: 1 }));
      return;
    }
    this.#waiting.set(
      waiter,
      clock.after(timeout, () => this.#expire(waiter)),
    );
    this.load.waiting++;
    this.load.sample();
    this.#advance();
  }

  leave(waiter: Waiter): void {
    const timer = this.#waiting.get(waiter);
    if (!timer) return;
    timer[Symbol.dispose]();
    this.#waiting.delete(waiter);
    this.load.waiting--;
  }

  add(info: RoutableInstance): Instance {
    const instance = new Instance(info, this);
    this.#instances.push(instance);
    return instance;
  }

  /** Takes it out of rotation. What it has in flight goes on. */
  remove(instance: Instance): void {
    this.#instances = this.#instances.filter((one) => one !== instance);
  }

  /** Back into rotation. */
  restore(instance: Instance): void {
    if (!this.#instances.includes(instance)) this.#instances.push(instance);
    this.#advance();
  }

  /** A slot is free, or the room has changed. */
  released(): void {
    if (this.#waiting.size > 0) this.#advance();
  }

  /** Sends everyone who waits to look again. */
  evict(): void {
    const waiting = Array.from(this.#waiting.keys()); // Some may come back.
    for (const waiter of waiting) {
      this.leave(waiter);
      waiter.moved();
    }
  }

  /** Hands free slots to those who wait, then asks for what is missing. */
  #advance(): void {
    for (const waiter of this.#waiting.keys()) {
      const instance = leastLoaded(this.#instances);
      if (!instance) break;
      instance.inFlight++;
      this.leave(waiter);
      waiter.granted(instance, true);
    }
    if (this.#pause !== undefined || this.#waiting.size === 0) return;
    const { concurrency, scale } = this.revision.spec;
    const needed = startsNeeded({
      inFlight: this.#instances.reduce((sum, one) => sum + one.inFlight, 0),
      waiting: this.#waiting.size,
      concurrency,
      instances: this.#instances.length,
      starting: this.#starting,
      max: scale.max,
    });
    for (let i = 0; i < needed; i++) void this.#start();
  }

  async #start(): Promise<void> {
    this.#starting++;
    let failure: FnError | undefined;
    try {
      await this.#options.acquire(this.revision.function, this.revision.id);
    } catch (error) {
      failure = toFnError(error);
    }
    this.#starting--;
    if (failure) this.#startFailed(failure);
    this.#advance();
  }

  /** Whoever can still be served by an instance or by another start keeps waiting; the others hear why not, at once. */
  #startFailed(failure: FnError): void {
    const none = this.#instances.length === 0;
    if (none && failure.code !== 'capacity.max_reached') {
      let excess = this.#waiting.size - this.#starting * this.revision.spec.concurrency;
      for (const waiter of this.#waiting.keys()) {
        if (excess-- <= 0) break;
        this.leave(waiter);
        waiter.refused(failure);
      }
      return;
    }
    this.#pause ??= this.#options.clock.after(none ? RETRY_CAPPED_AFTER : RETRY_START_AFTER, () => {
      this.#pause = undefined;
      this.#advance();
    });
  }

  #expire(waiter: Waiter): void {
    this.leave(waiter);
    const { function: name, spec } = this.revision;
    const waited = `no instance of ${name} was free within its timeout of ${spec.timeout} ms`;
    waiter.refused(
      this.#instances.length === 0
        ? new FnError('function.start_timeout', waited)
        : new FnError('capacity.max_reached', waited, { retryAfterS: 1 }),
    );
  }
}

/** All instances this gateway may use, and their groups. */
export class Slots {
  readonly #options: GroupOptions;
  readonly #groups = new Map<RevisionId, Group>();
  readonly #instances = new Map<InstanceId, Instance>();

  constructor(options: GroupOptions) {
    this.#options = { ...options, acquire: (name, revision) => this.#acquire(options, name, revision) };
  }

  get(id: InstanceId): Instance | undefined {
    return this.#instances.get(id);
  }

  instances(): readonly Instance[] {
    return [...this.#instances.values()];
  }

  get size(): number {
    return this.#instances.size;
  }

  group(revision: RevisionRecord, load: RevisionLoad): Group {
    let group = this.#groups.get(revision.id);
    if (!group) this.#groups.set(revision.id, (group = new Group(revision, load, this.#options)));
    return group;
  }

  /** Takes an instance in; again is harmless. */
  add(info: RoutableInstance, group: Group): void {
    if (this.#instances.has(info.id)) return;
    this.#instances.set(info.id, group.add(info));
    group.load.instances++;
    group.released();
  }

  /** The instance is gone, or no longer ours. */
  remove(id: InstanceId): void {
    const instance = this.#instances.get(id);
    if (!instance) return;
    this.#instances.delete(id);
    instance.group.remove(instance);
    instance.group.load.instances--;
    instance.drop();
    instance.group.released();
  }

  /** Forgets groups that nothing refers to any more. */
  prune(inTraffic: (revision: RevisionId) => boolean): void {
    for (const [id, group] of this.#groups) {
      if (inTraffic(id)) continue;
      group.evict();
      if (group.isEmpty) this.#groups.delete(id);
    }
  }

  async #acquire(options: GroupOptions, name: FunctionName, revision: RevisionId): Promise<RoutableInstance> {
    const info = await options.acquire(name, revision);
    const group = this.#groups.get(revision);
    if (group) this.add(info, group);
    return info;
  }
}
