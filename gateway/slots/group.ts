/** Who may send to which instance of a revision, and who waits. Every invocation holds a slot of one instance from before its
 *  first byte leaves until the instance is done with it, so an instance never has more than `concurrency` at once. Whoever
 *  finds no free slot waits, first come first served, in a bounded room, while the worker is asked for as many instances as
 *  it takes. Nothing polls: a slot that becomes free, an instance that becomes ready and a start that fails each wake whom
 *  they must.
 *
 *  With several threads each has its own queue, and a free slot goes to the queues in turn. Whoever joins a queue is counted
 *  before it looks for a slot, and whoever frees a slot looks at that count afterwards, so one of the two sees the other. A
 *  thread that is woken and has slots left over wakes the next one. */

import type { Clock } from '../../core/clock.ts';
import type { RoutableInstance } from '../../core/control.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import type { FunctionName, RevisionId } from '../../core/ids.ts';
import type { RevisionRecord } from '../../core/records.ts';
import { formatDuration, type Millis } from '../../core/units.ts';
import { leastLoaded, startsNeeded } from '../balancer.ts';
import type { RevisionLoad } from '../load.ts';
import { LOADING } from './cell.ts';
import { Instance } from './instance.ts';
import { type Peers, Room } from './room.ts';
import type { Rows } from './rows.ts';

/** A request without a slot. Exactly one of the three is called, unless it leaves first. */
export interface Waiter {
  granted(instance: Instance, waited: boolean): void;
  refused(error: FnError): void;
  /** Its revision gets no traffic any more: look again where to go. */
  moved(): void;
}

export interface GroupOptions {
  readonly acquire: (name: FunctionName, revision: RevisionId) => Promise<RoutableInstance>;
  readonly rows: Rows;
  readonly peers: Peers;
  readonly clock: Clock;
}

/** How long we leave the worker alone after it refused another instance and some are running. */
const RETRY_START_AFTER: Millis = 500;
/** And when none of those that count is ours: it is about to be gone, or about to be ours. */
const RETRY_CAPPED_AFTER: Millis = 50;

export class Group implements Disposable {
  readonly revision: RevisionRecord;
  readonly load: RevisionLoad;
  readonly #options: GroupOptions;
  readonly #room: Room;
  #instances: Instance[] = [];
  readonly #waiting = new Map<Waiter, Disposable>();
  /** Starts asked for by this thread. */
  #starting = 0;
  #pause: Disposable | undefined;

  constructor(revision: RevisionRecord, load: RevisionLoad, options: GroupOptions) {
    this.revision = revision;
    this.load = load;
    this.#options = options;
    this.#room = new Room(options.rows, revision.id, options.peers);
    load.groups++;
  }

  get isEmpty(): boolean {
    return this.#instances.length === 0 && this.#waiting.size === 0 && this.#starting === 0;
  }

  /** A slot, at once or not at all. Nobody overtakes those who wait. */
  take(): Instance | undefined {
    return this.#room.waiting > 0 ? undefined : this.#takeFree();
  }

  /** Waits for a slot, at most `timeout`. */
  wait(waiter: Waiter, timeout: Millis): void {
    const { clock } = this.#options;
    if (!this.load.wait(clock.monotonic())) {
      const detail = `no more requests may wait for ${this.revision.function}`;
      waiter.refused(new FnError('capacity.queue_full', detail, { retryAfterS: 1 }));
      return;
    }
    this.#waiting.set(
      waiter,
      clock.after(timeout, () => this.#expire(waiter)),
    );
    this.#room.enter();
    this.advance();
  }

  leave(waiter: Waiter): void {
    const timer = this.#waiting.get(waiter);
    if (!timer) return;
    timer[Symbol.dispose]();
    this.#waiting.delete(waiter);
    this.#room.leave();
    this.load.waited(this.#options.clock.monotonic());
  }

  add(info: RoutableInstance): Instance {
    const instance = new Instance(info, this, this.#options.rows);
    this.#instances.push(instance);
    return instance;
  }

  remove(instance: Instance): void {
    this.#instances = this.#instances.filter((one) => one !== instance);
  }

  /** A slot may be free, or room for another instance: for those who wait, in whichever thread. */
  released(): void {
    if (this.#room.waiting === 0) return;
    const thread = this.#room.next();
    if (thread === this.#options.peers.index) this.advance();
    else this.#options.peers.wake(thread, this.revision.id);
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
  advance(): void {
    for (const waiter of this.#waiting.keys()) {
      const instance = this.#takeFree();
      if (!instance) break;
      this.leave(waiter);
      waiter.granted(instance, true);
    }
    if (this.#waiting.size > 0) this.#grow();
    else if (this.#room.waiting > 0 && leastLoaded(this.#instances)) this.released();
  }

  /** Whoever can still be served by an instance or by another start keeps waiting; the others hear why not, at once. */
  startFailed(failure: FnError): void {
    const { clock, peers } = this.#options;
    const none = !this.#instances.some((one) => one.isOpen);
    if (none && failure.code !== 'capacity.max_reached') {
      let excess = this.#room.waiting - this.#room.starting * this.revision.spec.concurrency;
      for (const waiter of this.#waiting.keys()) {
        if (excess-- <= 0) return;
        this.leave(waiter);
        waiter.refused(failure);
      }
      const [other] = this.#room.others();
      if (excess > 0 && other !== undefined) peers.startFailed(other, this.revision.id, failure);
      return;
    }
    this.#room.pause(clock.monotonic(), none ? RETRY_CAPPED_AFTER : RETRY_START_AFTER);
  }

  [Symbol.dispose](): void {
    this.#pause?.[Symbol.dispose]();
    this.#room[Symbol.dispose]();
    this.load.groups--;
  }

  #takeFree(): Instance | undefined {
    for (;;) {
      const instance = leastLoaded(this.#instances);
      if (!instance || instance.take()) return instance; // Else another thread was faster.
    }
  }

  #grow(): void {
    if (this.#pause !== undefined) return;
    const { clock } = this.#options;
    const pause = this.#room.pausedFor(clock.monotonic());
    if (pause > 0) {
      this.#pause = clock.after(pause, () => {
        this.#pause = undefined;
        this.advance();
      });
      return;
    }
    const { concurrency, scale } = this.revision.spec;
    for (;;) {
      // One that loads counts until it is known whether it ever will be ready.
      const open = this.#instances.filter((one) => one.isOpen || one.cell.has(LOADING));
      const starting = this.#room.starting;
      const needed = startsNeeded({
        inFlight: open.reduce((sum, one) => sum + one.inFlight, 0),
        waiting: this.#room.waiting,
        concurrency,
        instances: open.length,
        starting,
        max: scale.max,
      });
      if (needed === 0) return;
      if (this.#room.start(starting)) void this.#start();
    }
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
    this.#room.started();
    if (failure) this.startFailed(failure);
    this.advance();
    // The others decided with this start in mind.
    for (const thread of this.#room.others()) this.#options.peers.wake(thread, this.revision.id);
  }

  #expire(waiter: Waiter): void {
    this.leave(waiter);
    const { function: name, spec } = this.revision;
    const waited = `no instance of ${name} was free within its timeout of ${formatDuration(spec.timeout)}`;
    waiter.refused(
      this.#instances.some((one) => one.isOpen)
        ? new FnError('capacity.max_reached', waited, { retryAfterS: 1 })
        : new FnError('function.start_timeout', waited),
    );
  }
}
