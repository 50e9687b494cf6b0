/** All instances of this node: starts them for whoever asks (a waiting request through its gateway, the controller through
 *  the node's queue), hands each to one gateway, ends them, and learns how each ended. The caps are exact because nothing
 *  else starts instances here. */

import type { Sample } from '../../core/account.ts';
import type { Clock } from '../../core/clock.ts';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import type { RoutableInstance } from '../../core/control.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import { type FunctionName, instanceId, type InstanceId, type RevisionId } from '../../core/ids.ts';
import type { Log } from '../../core/log.ts';
import { LogFile } from '../../core/logs.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { EndReason, InstanceRecord, RevisionRecord } from '../../core/records.ts';
import type { Millis } from '../../core/units.ts';
import type { Images, UnpackedImage } from '../images.ts';
import { Lull } from '../lull.ts';
import type { Pool } from '../pool.ts';
import type { Sandbox, SandboxEnd } from '../sandbox/sandbox.ts';
import type { StartBackoff } from './backoff.ts';
import { Beginnings } from './beginnings.ts';
import { classOf } from './class-of.ts';
import { classifyEnd, endProblem, isTold } from './ends.ts';
import { Instance, type InstanceOwner } from './instance.ts';
import { loadInstance, type LoadPhases } from './load.ts';
import { CALL_WITHIN, type GatewayLink, Owners } from './owners.ts';
import type { RecordWriter } from './record-writer.ts';

/** How an instance ended. */
export interface Ending {
  readonly reason: EndReason;
  readonly problem: FnError;
  readonly counters: Sample | undefined;
}

export interface ManagerParts {
  readonly config: Config;
  readonly images: Images;
  readonly pool: Pool<InstanceOwner>;
  readonly backoff: StartBackoff;
  readonly records: RecordWriter;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** From the snapshot: no network on the way to a start. */
  readonly revision: (id: RevisionId) => RevisionRecord | undefined;
  /** The variables of its secrets. @throws FnError secret.missing, secret.unreadable. */
  readonly secrets: (spec: RevisionRecord['spec']) => Readonly<Record<string, string>>;
}

/** The share of its time that a start may wait for its turn: what is left must be enough to start in, or its function would be
 *  blamed for the others. */
const TURN_WITHIN = 0.9;
/** From SIGTERM to SIGKILL when the platform ends an idle instance. */
const STOP_GRACE: Millis = 2000;
/** Writing it down takes the better part of a millisecond, just when its first invocation runs. */
const ADOPTABLE_AFTER: Millis = 5;
/** How soon a gateway that is alive finds a new worker. */
const RECONNECT_WITHIN: Millis = 3000;
/** A young instance may be on its way to a request that has not reached it yet. */
const SETTLES_WITHIN: Millis = 1000;
/** Its connection breaks a moment before its end is seen. */
const AUTOPSY_WITHIN: Millis = 500;

export class InstanceManager {
  readonly #parts: ManagerParts;
  readonly #instances = new Map<InstanceId, Instance>();
  /** Ended moments ago: for an autopsy that comes late. */
  readonly #recent = new Map<InstanceId, Instance>();
  /** Starts under way that have no instance yet. */
  readonly beginnings = new Beginnings();
  /** What the record of a start sets off (Redis, the gateway's and the controller's copies, a look by the controller) takes
   *  longer than the first invocation, and would run beside it. */
  readonly #lull: Lull;
  /** Which gateway has which. */
  readonly owners: Owners;
  readonly #logs = new Map<FunctionName, LogFile>();
  #closed: Promise<never> | undefined;
  /** What instances left is being removed. */
  readonly #cleaning = new Set<Promise<void>>();

  constructor(parts: ManagerParts) {
    this.#parts = parts;
    this.#lull = new Lull(parts.clock);
    this.owners = new Owners({
      instances: () => this.all,
      clock: parts.clock,
    });
  }

  get all(): Instance[] {
    return [...this.#instances.values()];
  }

  /** The function's log file, one writer for all its instances. */
  log(name: FunctionName): LogFile {
    let file = this.#logs.get(name);
    if (!file)
      this.#logs.set(name, (file = new LogFile(this.#parts.config.paths.logs, name, this.#parts.config.logLimit)));
    return file;
  }

  /** Starts one more instance for a gateway, which has one of the pool as soon as it is claimed: `loaded` tells the rest.
   *  Rejects at once when the cap is reached or the revision is in back-off. */
  async acquire(revision: RevisionId, gateway: symbol): Promise<RoutableInstance> {
    await this.#open();
    const record = this.#revision(revision);
    const { max } = record.spec.scale;
    if (this.#count(revision) >= max) {
      this.owners.wanted(revision, gateway);
      throw new FnError('capacity.max_reached', `${record.function} has ${max} instances, its scale.max`, {
        retryAfterS: 1,
      });
    }
    const instance = await this.#start(record, gateway);
    if (instance.owner !== gateway) await instance.loaded; // No warm one was there: that took longer than the rest will.
    return instance.routable();
  }

  /** Resolves once the instance is ready. Rejects with why it never will be. */
  async loaded(id: InstanceId): Promise<void> {
    const instance = this.#instances.get(id) ?? this.#recent.get(id);
    if (!instance) throw new FnError('process.down', `there is no instance ${id}`);
    await instance.loaded;
  }

  /** Starts what is missing to `count`. Throws the first failure once all have ended: some leave no instance record. */
  async ensure(revision: RevisionId, count: number): Promise<void> {
    await this.#open();
    const record = this.#revision(revision);
    const missing = Math.min(count, record.spec.scale.max) - this.#count(revision);
    const starts = Array.from({ length: Math.max(0, missing) }, async () => {
      const { loaded } = await this.#start(record, undefined);
      await loaded;
    });
    for (const start of await Promise.allSettled(starts)) if (start.status === 'rejected') throw start.reason;
  }

  /** Two-phase: its gateway stops sending, then it is ended. False when it was busy and `if-idle` was asked. */
  async stop(id: InstanceId, mode: 'if-idle' | 'drain', reason: EndReason): Promise<boolean> {
    await this.#open();
    const instance = this.#instances.get(id);
    if (!instance || instance.intent) return true;
    if (mode === 'if-idle' && (instance.loading || this.owners.isMoving(instance))) return false;
    if (mode === 'if-idle' && Date.now() - (instance.record.readyAt ?? 0) < SETTLES_WITHIN) return false;
    const gateway = await this.#gatewayOf(instance, reason);
    if (!gateway && mode === 'if-idle') return false; // Nobody here knows whether it is idle.
    const deadlineMs = mode === 'drain' ? instance.revision.spec.timeout : 0;
    if (gateway) {
      if (mode === 'drain') this.#write(instance.change({ state: 'draining' }));
      const { idle } = await gateway
        .call('unroute', { instance: id, mode, deadlineMs }, deadlineMs + CALL_WITHIN)
        .catch(() => ({ idle: mode === 'drain' })); // The gateway is gone, and what was in flight with it.
      if (!idle && mode === 'if-idle') return false;
    }
    await this.#open(); // The next worker does it, if it is still to be done.
    instance.intent = reason;
    this.#write(instance.change({ state: 'draining' }));
    await instance.sandbox.stop(STOP_GRACE);
    await instance.over;
    return true;
  }

  /** Ends it now, whatever it does. Resolves when no process of it is left. */
  async kill(id: InstanceId, reason: 'timeout' | 'used', invocation: string): Promise<void> {
    const instance = this.#instances.get(id);
    if (!instance) return;
    if (!instance.intent) Object.assign(instance, { intent: reason, endedBy: invocation });
    await instance.sandbox.stop(0);
    await instance.over;
  }

  /** Its connection broke: has it ended, and how? */
  async autopsy(id: InstanceId): Promise<Ending | undefined> {
    const instance = this.#instances.get(id) ?? this.#recent.get(id);
    if (!instance) return undefined;
    instance.broke = true;
    const ending = await Promise.race([instance.over, sleep(AUTOPSY_WITHIN).then(() => undefined)]);
    if (!ending || !instance.loading) return ending;
    const problem = await Promise.race([
      instance.loaded.then(() => ending.problem, toFnError),
      sleep(AUTOPSY_WITHIN).then(() => ending.problem),
    ]);
    return { ...ending, problem };
  }

  /** Takes over an instance of an earlier worker. */
  adopt(sandbox: Sandbox<InstanceOwner>, { record, revision }: InstanceOwner): void {
    const instance = this.#instance({ ...record, state: 'ready' }, revision, sandbox);
    instance.loading = false;
    this.#instances.set(instance.id, instance);
    this.#write(instance.record);
    void sandbox.ended.then((end) => this.#ended(instance, end));
    this.owners.adopted(instance);
  }

  /** On v1 the kernel kills one process of a group that is out of memory, maybe not the one that answers. */
  checkMemory(): void {
    for (const instance of this.all) {
      if (instance.intent || instance.sandbox.over || instance.sandbox.cgroup.stats().oomKills === 0) continue;
      instance.intent = 'oom';
      void instance.sandbox.stop(0);
    }
  }

  async endAll(reason: EndReason): Promise<void> {
    await Promise.all(this.all.map((instance) => this.stop(instance.id, 'drain', reason)));
    await Promise.all(this.#cleaning);
    await Promise.all([...this.#logs.values()].map((file) => file.flushed()));
  }

  /** From now on nothing is started or stopped here: whoever asks waits for the next worker. Resolves when what is under
   *  way has come to its end. */
  async quiesce(within: Millis): Promise<void> {
    this.#closed = Promise.withResolvers<never>().promise;
    const end = performance.now() + within;
    const isBusy = (): boolean =>
      this.beginnings.total > 0 ||
      this.all.some(({ loading, intent }) => loading || intent !== undefined) ||
      this.#cleaning.size > 0;
    while (isBusy() && performance.now() < end) await sleep(5);
  }

  /** Lets go of all without ending them: the next worker adopts them. */
  async releaseAll(): Promise<void> {
    for (const instance of this.all) {
      this.#adoptable(instance);
      instance.sandbox.release();
    }
    await Promise.all([...this.#logs.values()].map((file) => file.flushed()));
  }

  /** After a restart of ours the gateways take a moment to come back; until then it may be as busy as ever. */
  async #gatewayOf(instance: Instance, reason: EndReason): Promise<GatewayLink | undefined> {
    const end = performance.now() + (reason === 'shutdown' ? 0 : RECONNECT_WITHIN);
    for (;;) {
      const gateway = this.owners.of(instance);
      if (gateway || instance.sandbox.over || performance.now() >= end) return gateway;
      await sleep(50);
    }
  }

  /** Never resolves once another worker is about to take over: calls end with their connection, jobs with their lock. */
  async #open(): Promise<void> {
    await this.#closed;
  }

  #revision(id: RevisionId): RevisionRecord {
    const record = this.#parts.revision(id);
    if (!record) throw new FnError('function.not_found', `revision ${id} is not known to this node`);
    return record;
  }

  /** Instances of the revision that are not on their way out, and starts under way. */
  #count(revision: RevisionId): number {
    const living = this.all.filter(
      ({ record, intent }) => record.revision === revision && !intent && record.state !== 'draining',
    );
    return living.length + this.beginnings.of(revision);
  }

  /** Resolves when a warm sandbox is claimed, or one that was made for it is ready. */
  async #start(revision: RevisionRecord, gateway: symbol | undefined): Promise<Instance> {
    const { config, images, pool, backoff } = this.#parts;
    backoff.check(revision.id);
    const secrets = this.#parts.secrets(revision.spec);
    if (this.#instances.size + this.beginnings.total >= config.maxInstances) {
      throw new FnError('capacity.node_full', `this node runs ${config.maxInstances} instances (FN_MAX_INSTANCES)`, {
        retryAfterS: 1,
      });
    }
    const began = performance.now();
    using beginning = this.beginnings.add(revision.id);
    try {
      const image = await images.get(revision.image);
      const wanted = classOf(revision, image);
      const warm = pool.take(wanted);
      const sandbox = warm ?? (await pool.make(wanted, config.startTimeout * TURN_WITHIN));
      const record: InstanceRecord = {
        id: instanceId(revision.function, sandbox.id),
        function: revision.function,
        revision: revision.id,
        node: config.nodeId,
        state: 'starting',
        createdAt: Date.now(),
      };
      const instance = this.#instance(record, revision, sandbox);
      this.#instances.set(instance.id, instance);
      beginning[Symbol.dispose](); // It is counted as an instance now.
      if (!warm) this.#write(record);
      void sandbox.ended.then((end) => this.#ended(instance, end));
      if (warm && gateway) this.owners.taken(instance, gateway);
      const loaded = { ...image, env: { ...image.env, ...secrets } };
      instance.loaded = this.#load(instance, loaded, warm ? 'claimed' : 'cold', began, gateway);
      instance.loaded.catch(() => {}); // Whoever waits for it hears of it.
      return instance;
    } catch (error) {
      throw this.#failed(revision, error);
    }
  }

  /** Writes down why an instance never became ready, if it does not. */
  async #load(
    instance: Instance,
    image: UnpackedImage,
    kind: 'claimed' | 'cold',
    began: Millis,
    gateway: symbol | undefined,
  ): Promise<void> {
    try {
      const { startTimeout } = this.#parts.config;
      const phases = await loadInstance(instance, image, startTimeout, startTimeout - (performance.now() - began));
      this.#ready(instance, kind, performance.now() - began, phases, gateway);
    } catch (error) {
      const failure = this.#failed(instance.revision, error);
      const { reason } = await instance.over;
      this.#write(instance.change({ state: 'failed', end: { at: Date.now(), reason, problem: failure.toProblem() } }));
      throw failure;
    }
  }

  #failed({ id, function: name }: RevisionRecord, error: unknown): FnError {
    const problem = toFnError(error);
    if (problem.code !== 'capacity.node_full') this.#parts.backoff.failed(id, problem);
    this.#parts.log.warn({ fn: name, revision: id, code: problem.code }, 'instance failed to start');
    return problem;
  }

  #ready(
    instance: Instance,
    kind: 'claimed' | 'cold',
    ms: Millis,
    phases: LoadPhases,
    gateway: symbol | undefined,
  ): void {
    this.#parts.backoff.started(instance.revision.id);
    instance.loading = false;
    instance.change({ state: 'ready', readyAt: Date.now(), start: { kind, ms: Number(ms.toFixed(2)) } });
    this.owners.ready(instance, gateway);
    // Whoever waits for the instance hears of it first, and its first invocation has the processors.
    const announce = (): void => this.#announce(instance, kind, ms, phases);
    this.#parts.clock.after(ADOPTABLE_AFTER, () => this.#adoptable(instance));
    if (gateway) this.#lull.later(announce);
    else announce();
  }

  #announce(instance: Instance, kind: 'claimed' | 'cold', ms: Millis, phases: LoadPhases): void {
    const { log, metrics } = this.#parts;
    const { record } = instance;
    metrics.counter('fn_starts_total').inc({ kind });
    metrics.histogram('fn_start_duration_seconds').observe({ kind }, ms / 1000);
    log.info({ fn: record.function, instance: record.id, kind, ms: record.start?.ms, phases }, 'instance ready');
    instance.sandbox.hangUp();
    if (!instance.sandbox.over) this.#write(record); // Else its end is written already.
  }

  /** From here on a restarted worker takes it over. */
  #adoptable(instance: Instance): void {
    const { record, revision, sandbox } = instance;
    if (sandbox.over) return;
    try {
      sandbox.remember({ record, revision });
    } catch (error) {
      this.#parts.log.warn(
        { err: error, instance: instance.id },
        'state not written: a restarted worker cannot adopt the instance',
      );
    }
  }

  async #ended(instance: Instance, end: SandboxEnd): Promise<void> {
    const { backoff, clock, log, metrics } = this.#parts;
    const { record } = instance;
    const seen = classifyEnd(end);
    // Whoever ran out of memory while it was being stopped for another reason still ran out of memory.
    const reason = instance.intent ?? seen;
    const told = reason !== 'timeout' && seen === 'oom' ? seen : reason;
    const problem = endProblem(told, end, instance.revision.spec, instance.tail);
    if (isTold(told)) instance.note(problem.message);
    const { oomKills: _, counters, ...how } = end;
    const ending: Ending = { reason, problem, counters };
    this.#instances.delete(instance.id);
    this.#remember(instance);
    instance.finish(ending);
    // Whoever has one that never was ready asks for the reason, and hears it with that.
    const gateway = instance.loading ? undefined : this.owners.of(instance);
    gateway?.call('gone', { instance: instance.id, reason }, CALL_WITHIN).then(
      ({ served }) => (instance.served = served),
      () => {}, // It left, and forgot it anyway.
    );

    if (!instance.loading) {
      const planned = instance.intent !== undefined && instance.intent !== 'oom';
      const ended = { at: Date.now(), reason, ...how, ...(!planned && { problem: problem.toProblem() }) };
      this.#write(instance.change({ state: planned ? 'stopped' : 'failed', end: ended }));
      const lived = Date.now() - (record.readyAt ?? 0);
      // A gateway says so after us when an invocation broke with it, or it had answered some: that is no crash loop.
      clock.after(AUTOPSY_WITHIN, () => {
        if (!instance.intent && !instance.broke && !instance.served) backoff.ended(record.revision, lived, problem);
      });
    }
    metrics.counter('fn_instance_ends_total').inc({ reason });
    log.info({ fn: record.function, instance: record.id, reason, ...how }, 'instance ended');
    const cleaning = this.#clean(instance);
    this.#cleaning.add(cleaning);
    await cleaning;
    this.#cleaning.delete(cleaning);
  }

  async #clean(instance: Instance): Promise<void> {
    try {
      await instance.sandbox[Symbol.asyncDispose]();
    } catch (error) {
      this.#parts.log.warn(
        { err: error, sandbox: instance.sandbox.id },
        'leftovers of an instance; the sweep tries again',
      );
    }
  }

  #remember(instance: Instance): void {
    this.#recent.set(instance.id, instance);
    this.#parts.clock.after(10_000, () => this.#recent.delete(instance.id));
  }

  #instance(record: InstanceRecord, revision: RevisionRecord, sandbox: Sandbox<InstanceOwner>): Instance {
    const dropped = this.#parts.metrics.counter('fn_log_bytes_dropped_total');
    return new Instance(record, revision, sandbox, this.log(record.function), (bytes) => dropped.inc(bytes));
  }

  #write(record: InstanceRecord): void {
    this.#parts.records.write(record);
  }
}
