/** The instances this gateway may use, as the worker gives, takes and buries them. */

import { connect } from 'node:net';
import type { Clock } from '../core/clock.ts';
import type { GatewayCalls, RoutableInstance } from '../core/control.ts';
import { FnError, fromProblem, type Problem, toFnError } from '../core/errors.ts';
import type { FunctionName, InstanceId, RevisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { RevisionRecord } from '../core/records.ts';
import type { Handlers } from '../core/rpc.ts';
import type { Millis } from '../core/units.ts';
import type { Autopsy, WorkerSide } from './control.ts';
import type { LoadTable } from './load.ts';
import { DOOMED, DRAINING, LOADING, SUSPECT } from './slots/cell.ts';
import type { Instance } from './slots/instance.ts';
import type { Slots } from './slots/slots.ts';

export interface FleetOptions {
  readonly slots: Slots;
  readonly loads: LoadTable;
  /** From the snapshot, or from the store when the snapshot has not heard of it yet. */
  readonly revision: (id: RevisionId) => Promise<RevisionRecord | undefined>;
  readonly clock: Clock;
  readonly log: Log;
}

const PROBE_WITHIN: Millis = 500;
/** The request goes out first, and the worker is not woken while the sandbox has work to do. */
const ASK_AFTER: Millis = 1;
/** How long we leave a worker alone that could not end an instance: a busy machine may need a while. */
const KILL_AGAIN_AFTER: Millis = 1000;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #kills = new Map<InstanceId, Promise<void>>();
  readonly #autopsies = new Map<InstanceId, Promise<Autopsy>>();
  /** Routed to us on the present connection: maybe after the worker wrote its list, which then lacks them. */
  readonly #routed = new Set<InstanceId>();
  #worker: WorkerSide | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  attach(worker: WorkerSide): void {
    this.#worker = worker;
  }

  /** What the worker may ask of us. */
  readonly handlers: Handlers<GatewayCalls> = {
    route: async ({ instance }) => {
      this.#routed.add(instance.id);
      await this.#admit(instance);
      return {};
    },
    unroute: async ({ instance: id, mode, deadlineMs }) => {
      const instance = this.#options.slots.get(id);
      if (!instance) return { idle: true };
      if (mode === 'if-idle' && !instance.cell.drainIfIdle()) return { idle: false };
      instance.cell.mark(DRAINING);
      const idle = await instance.idle(deadlineMs, this.#options.clock);
      if (idle) this.#drop(id);
      return { idle };
    },
    gone: ({ instance: id, problem }) => {
      const instance = this.#options.slots.get(id);
      const served = instance?.cell.isUsed ?? false;
      if (instance) this.#neverReady(instance, problem);
      this.#drop(id);
      return { served };
    },
  };

  readonly holds = (): readonly InstanceId[] => this.#options.slots.instances().map(({ info }) => info.id);

  readonly connecting = (): void => this.#routed.clear();

  /** Everything that is ours, said by a worker we have just connected to. */
  readonly sync = (instances: readonly RoutableInstance[]): void => {
    const { slots } = this.#options;
    const ours = new Set([...this.#routed, ...instances.map((one) => one.id)]);
    for (const { info } of slots.instances()) if (!ours.has(info.id)) slots.remove(info.id);
    for (const info of instances) if (!slots.get(info.id)) void this.#admit(info);
  };

  /** Has an instance started, and handed to us. It may still be loading. */
  async acquire(name: FunctionName, revision: RevisionId): Promise<RoutableInstance> {
    if (!this.#worker) throw new FnError('process.down', 'the gateway is starting', { retryAfterS: 1 });
    const info = await this.#worker.acquire(name, revision);
    const worker = this.#worker;
    if (info.loading) this.#options.clock.after(ASK_AFTER, () => void this.#load(worker, info.id));
    return info;
  }

  /** Ends an instance. Resolves when it is gone, or when the worker did not say so in time; then it stays out of rotation
   *  and the worker is asked again until it is gone. */
  kill(instance: Instance, reason: 'timeout' | 'used', invocation: string): Promise<void> {
    const { clock, log, slots } = this.#options;
    const { id } = instance.info;
    instance.cell.mark(DOOMED);
    let killing = this.#kills.get(id);
    if (!killing) {
      killing = (this.#worker?.kill(id, reason, invocation) ?? Promise.resolve())
        .then(() => this.#drop(id))
        .catch((error: unknown) => {
          log.warn({ instance: id, err: toFnError(error) }, 'instance not ended');
          clock.after(KILL_AGAIN_AFTER, () => {
            if (slots.get(id) === instance) void this.kill(instance, reason, invocation);
          });
        })
        .finally(() => this.#kills.delete(id));
      this.#kills.set(id, killing);
    }
    return killing;
  }

  /** Finds out what became of an instance whose connection broke; meanwhile nothing is sent to it. */
  autopsy(instance: Instance): Promise<Autopsy> {
    const { id } = instance.info;
    instance.cell.suspect();
    let looking = this.#autopsies.get(id);
    if (!looking) {
      looking = this.#examine(instance).finally(() => this.#autopsies.delete(id));
      this.#autopsies.set(id, looking);
    }
    return looking;
  }

  /** Those who were sent to an instance that fails to load learn it from their broken connection, those who wait for one
   *  from here. A worker that goes away meanwhile leaves it as ready as it will be. */
  async #load(worker: WorkerSide, id: InstanceId): Promise<void> {
    let failure: FnError | undefined;
    try {
      await worker.loaded(id);
    } catch (error) {
      failure = toFnError(error);
    }
    const instance = this.#options.slots.get(id);
    if (!instance) return;
    if (!failure || failure.code === 'process.down') {
      instance.cell.loaded(performance.now());
      return;
    }
    const problem = failure.toProblem();
    this.#neverReady(instance, problem);
    this.#drop(id);
    worker.dead?.(id, problem);
  }

  /** Those who wait for one that was loading hear why it ended, before they ask for another. */
  #neverReady(instance: Instance, problem: Problem | undefined): void {
    const failure = problem && instance.cell.has(LOADING) && fromProblem(problem);
    if (!failure) return;
    instance.cell.mark(DOOMED); // Nobody relies on it any more.
    instance.group.startFailed(failure);
  }

  #drop(id: InstanceId): void {
    this.#routed.delete(id);
    this.#options.slots.remove(id);
  }

  async #examine(instance: Instance): Promise<Autopsy> {
    const { log } = this.#options;
    const { id, socket } = instance.info;
    let seen: Autopsy;
    try {
      if (!this.#worker) throw new Error('no worker');
      seen = await this.#worker.autopsy(id);
    } catch {
      seen = { alive: await answers(socket) }; // The worker is away: whether it takes connections decides.
    }
    log.info({ instance: id, alive: seen.alive, reason: seen.reason }, 'instance examined');
    if (!seen.alive) {
      this.#neverReady(instance, seen.problem);
      this.#drop(id);
      this.#worker?.dead?.(id, seen.problem);
    } else if (instance.cell.has(SUSPECT)) {
      instance.cell.trust();
      instance.group.released();
    }
    return seen;
  }

  async #admit(info: RoutableInstance): Promise<void> {
    const { slots, loads, revision, clock, log } = this.#options;
    try {
      const record = await revision(info.revision);
      if (record) slots.add(info, slots.group(record, loads.of(record, clock.monotonic())));
      else log.warn({ instance: info.id, revision: info.revision }, 'instance of an unknown revision');
    } catch (error) {
      log.warn({ instance: info.id, err: toFnError(error) }, 'instance not admitted');
    }
  }
}

/** Whether somebody listens on the socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path, timeout: PROBE_WITHIN });
    const end = (alive: boolean) => (): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}
