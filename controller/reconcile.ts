/** The loop: look at one function, decide, act, write down why. Level-triggered: a job says which function to look at and
 *  nothing else, so a missed, doubled or late one does no harm. Jobs come from changes in the store, from load (each second
 *  for functions that have any) and, for all functions, every five seconds. A function is looked at by one controller at a
 *  time: BullMQ's deduplication keeps at most one job active and one waiting for each name, and any number of controllers
 *  may share the queue. Windows of load and panic are kept by each controller for itself; all read the same reports. */

import { type Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { sleep } from '../core/clock.ts';
import { aliasedOnly } from '../core/aliases.ts';
import { toFnError } from '../core/errors.ts';
import type { FunctionName, RevisionId } from '../core/ids.ts';
import {
  asyncQueue,
  LOAD_HASH,
  openQueue,
  OWN_PREFIX,
  RECONCILE_QUEUE,
  type ReconcileJob,
  USER_PREFIX,
} from '../core/queues.ts';
import { queueDepths } from '../core/queue-depth.ts';
import type { FunctionRecord, InstanceRecord, LoadReport } from '../core/records.ts';
import { connectRedis } from '../core/redis.ts';
import type { ServiceContext } from '../core/service.ts';
import { cronTriggers, type FunctionSpec, queueTriggers } from '../core/spec.ts';
import type { Millis } from '../core/units.ts';
import { Actions } from './actions.ts';
import { autoscale, type Panic, type ScaleDecision } from './autoscale.ts';
import { readDesiredOf, writeDecision } from './diary.ts';
import { LeaseWatch } from './lease-watch.ts';
import { LoadBook } from './load-book.ts';
import { type Action, describe, planFunction } from './plan.ts';
import { syncSchedules } from './schedules.ts';
import { View } from './view.ts';

const TICK_EVERY: Millis = 1000;
const RESYNC_EVERY: Millis = 5000;
const CONCURRENCY = 10;
/** A killed controller's job is taken over after this and one check: a look takes milliseconds, and a doubled one is safe. */
const LOCK: Millis = 5000;
const STALLED_CHECK: Millis = 2500;
/** The same actions again within this time are not written down again: they are under way. */
const REPEATED_WITHIN: Millis = 10_000;

/** What this controller remembers of a function. Losing it costs a panic or a line in the diary. */
interface Memory {
  panic?: Panic;
  desired?: number;
  written?: { readonly text: string; readonly at: Millis };
  /** Monotonic time from which another look may find something to do although nothing is written meanwhile. */
  lookAt?: Millis | undefined;
  /** The cron triggers last put in place. */
  schedules?: string;
}

export class Reconciler implements AsyncDisposable {
  readonly view: View;
  readonly #context: ServiceContext;
  readonly #actions: Actions;
  readonly #book = new LoadBook();
  readonly #leases = new LeaseWatch();
  readonly #memories = new Map<FunctionName, Memory>();
  readonly #closing = new AbortController();
  readonly #patient: Redis;
  readonly #worker: Worker<ReconcileJob>;
  readonly #queue;
  readonly #pending: Set<FunctionName>;
  #flushing: Promise<void> | undefined;
  #ticking: Promise<void> = Promise.resolve();

  private constructor(context: ServiceContext, view: View, pending: Set<FunctionName>, wake: { up: () => void }) {
    this.#context = context;
    this.view = view;
    this.#pending = pending;
    this.#actions = new Actions(context);
    this.#queue = openQueue<ReconcileJob>(RECONCILE_QUEUE, context.redis);
    this.#patient = connectRedis(context.config, 'patient');
    this.#worker = new Worker<ReconcileJob>(RECONCILE_QUEUE, (job) => this.#process(job), {
      prefix: OWN_PREFIX,
      connection: this.#patient,
      concurrency: CONCURRENCY,
      lockDuration: LOCK,
      stalledInterval: STALLED_CHECK,
      maxStalledCount: 1000, // A look that a crash cut short is never held against the function.
      runRetryDelay: 1000,
    });
    this.#worker.on('error', (error) => context.log.debug({ err: error }, 'reconcile queue'));
    wake.up = () => this.#flush();
    this.#flush();
    this.#ticking = this.#tick();
  }

  static async open(context: ServiceContext): Promise<Reconciler> {
    const pending = new Set<FunctionName>();
    const wake = { up: (): void => {} };
    const view = await View.open(context.store, {
      onChange: (name) => {
        pending.add(name);
        wake.up();
      },
      onError: (error) => context.log.debug({ err: error }, 'snapshot'),
    });
    return new Reconciler(context, view, pending, wake);
  }

  /** Looks at the function soon. */
  trigger(name: FunctionName): void {
    this.#pending.add(name);
    this.#flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#ticking;
    await this.#flushing;
    await this.view[Symbol.asyncDispose]();
    await Promise.race([this.#worker.close(), sleep(5000)]);
    await this.#actions[Symbol.asyncDispose]();
    await this.#queue.close();
    this.#patient.disconnect();
  }

  /** Adds a job for each pending name; names that come meanwhile go with the next batch. */
  #flush(): void {
    this.#flushing ??= (async () => {
      while (this.#pending.size > 0 && !this.#closing.signal.aborted) {
        const names = [...this.#pending];
        this.#pending.clear();
        const jobs = names.map((name) => ({
          name,
          data: { function: name },
          opts: { deduplication: { id: name, keepLastIfActive: true }, removeOnComplete: true, removeOnFail: true },
        }));
        // Redis is away: nothing can be done now, and the next resync looks at everything.
        await this.#queue.addBulk(jobs).catch(() => undefined);
      }
    })().finally(() => (this.#flushing = undefined));
  }

  async #tick(): Promise<void> {
    const { redis } = this.#context;
    let resyncAt = 0;
    while (!this.#closing.signal.aborted) {
      const now = performance.now();
      try {
        const reports = Object.values(await redis.hgetall(LOAD_HASH)).map((text) => JSON.parse(text) as LoadReport);
        for (const name of this.#book.record(reports, now)) this.#pending.add(name);
        for (const [name, memory] of this.#memories) if ((memory.lookAt ?? Infinity) <= now) this.#pending.add(name);
        const dead = this.#book.dead(now);
        if (dead.length > 0) await redis.hdel(LOAD_HASH, ...dead);
        this.#leases.observe(this.view.nodes(), this.view.referredNodes(), now);
      } catch (error) {
        this.#leases.interrupted();
        this.#context.log.debug({ err: error }, 'tick');
      }
      if (now >= resyncAt) {
        for (const name of this.view.names()) this.#pending.add(name);
        resyncAt = now + RESYNC_EVERY;
      }
      this.#flush();
      await sleep(TICK_EVERY, this.#closing.signal).catch(() => {});
    }
  }

  async #process({ data }: Job<ReconcileJob>): Promise<void> {
    const outcomes = this.#context.metrics.counter('fn_reconciles_total');
    try {
      const acted = await this.#reconcile(data.function);
      outcomes.inc({ outcome: acted ? 'acted' : 'nothing' });
    } catch (error) {
      outcomes.inc({ outcome: 'failed' });
      this.#context.log.warn({ fn: data.function, err: toFnError(error) }, 'reconcile failed');
      throw error;
    }
  }

  async #reconcile(name: FunctionName): Promise<boolean> {
    const { store, config } = this.#context;
    // Instances first, the function after: then no instance belongs to a revision the function record does not know yet.
    const instances = this.view.instances(name);
    const fn = (await store.get('function', name))?.value;
    if (!fn && instances.length === 0) {
      this.#memories.delete(name);
      return false;
    }
    const memory = this.#memories.get(name) ?? {};
    this.#memories.set(name, memory);

    const now = Date.now();
    const nodes = this.view.nodes().filter((node) => node.expiresAt > now);
    const nodeIds = nodes.map((node) => node.id);
    const decision = fn && (await this.#decide(fn, instances, memory));
    const startFailure =
      fn?.candidate && (await this.#actions.startFailure(nodeIds, fn.candidate.revision, fn.candidate.since));
    const actions = planFunction({
      fn,
      revisions: this.view.revisions(name),
      instances,
      nodes: nodeIds,
      lostNodes: this.#leases.lost(now, performance.now()),
      desired: decision?.desired ?? 0,
      aliased: fn ? this.#decideAliased(fn, instances) : new Map(),
      ...(startFailure && { startFailure }),
      startTimeout: config.startTimeout,
      now,
    });
    for (const action of actions) await this.#actions.act(name, action, now);
    memory.lookAt = fn && performance.now() + lookAgainIn(fn, instances, decision, actions);
    if (fn) await this.#syncSchedules(fn, memory);
    if (fn && !actions.some((action) => action.type === 'finish-deletion')) {
      await this.#writeDown(name, decision, actions, memory, now);
    }
    return actions.length > 0;
  }

  /** Undefined while no revision has traffic. */
  async #decide(
    fn: FunctionRecord,
    instances: readonly InstanceRecord[],
    memory: Memory,
  ): Promise<ScaleDecision | undefined> {
    const spec = this.#liveSpec(fn);
    if (!spec || fn.deletingSince !== undefined) return undefined;
    const revisions = new Set(fn.traffic.map(({ revision }) => revision));
    const alive = instances.filter(
      (one) => revisions.has(one.revision) && (one.state === 'starting' || one.state === 'ready'),
    );
    // An instance that ended may have been the newest: what it leaves behind is replaced until the idle time is over.
    const readyAt = Math.max(...instances.flatMap((one) => (revisions.has(one.revision) ? (one.readyAt ?? []) : [])));
    const now = performance.now();
    // What a revision that has just lost its traffic was busy with will keep its successor busy.
    const aliased = aliasedOnly(fn);
    const counted = this.view.revisions(fn.name).flatMap(({ id }) => (aliased.has(id) ? [] : [id]));
    const load = {
      ...this.#book.read(counted, now, spec.scale.idle, Date.now() - readyAt),
      backlog: await this.#backlog(fn.name, spec),
    };
    const ready = alive.filter((one) => one.state === 'ready').length;
    const { panic } = memory;
    const decision = autoscale(spec, load, { ready, alive: alive.length, ...(panic && { panic }) }, now);
    if (decision.panic) memory.panic = decision.panic;
    else delete memory.panic;
    return decision;
  }

  /** For revisions that only aliases point at: they start when somebody calls, and go when nobody does. */
  #decideAliased(fn: FunctionRecord, instances: readonly InstanceRecord[]): Map<RevisionId, number> {
    const now = performance.now();
    return new Map(
      [...aliasedOnly(fn)].map((id) => {
        const own = instances.filter((one) => one.revision === id);
        const alive = own.filter((one) => one.state === 'starting' || one.state === 'ready');
        const spec = this.view.revision(id)?.spec;
        if (!spec || alive.length === 0) return [id, 0];
        const onDemand = { concurrency: spec.concurrency, scale: { ...spec.scale, min: 0 } };
        const readyAt = Math.max(...own.flatMap((one) => one.readyAt ?? []));
        const load = { ...this.#book.read([id], now, spec.scale.idle, Date.now() - readyAt), backlog: 0 };
        const ready = alive.filter((one) => one.state === 'ready').length;
        return [id, autoscale(onDemand, load, { ready, alive: alive.length }, now).desired];
      }),
    );
  }

  /** Jobs that wait or run, of each queue as many as its consumer takes at once. */
  async #backlog(name: FunctionName, spec: FunctionSpec): Promise<number> {
    const slots = spec.scale.max * spec.concurrency;
    const sources = [
      { prefix: OWN_PREFIX, name: asyncQueue(name), atOnce: slots },
      ...queueTriggers(spec).map((queue) => ({
        prefix: USER_PREFIX,
        name: queue.name,
        atOnce: queue.concurrency ?? slots,
      })),
    ];
    const depths = await queueDepths(this.#context.redis, sources);
    return depths.reduce(
      (sum, { waiting, active }, index) => sum + Math.min(waiting + active, sources[index]?.atOnce ?? 0),
      0,
    );
  }

  /** Schedules follow the traffic: a revision that never got any never fires. */
  async #syncSchedules(fn: FunctionRecord, memory: Memory): Promise<void> {
    if (fn.deletingSince !== undefined) return;
    const spec = this.#liveSpec(fn);
    if (!spec) return;
    const triggers = cronTriggers(spec);
    const wanted = JSON.stringify(triggers);
    if (memory.schedules === wanted) return;
    await syncSchedules(this.#context.redis, fn.name, triggers);
    memory.schedules = wanted;
  }

  #liveSpec(fn: FunctionRecord): FunctionSpec | undefined {
    const main = fn.traffic.reduce<FunctionRecord['traffic'][number] | undefined>(
      (best, entry) => (best && best.weight >= entry.weight ? best : entry),
      undefined,
    );
    return main && this.view.revision(main.revision)?.spec;
  }

  async #writeDown(
    name: FunctionName,
    decision: ScaleDecision | undefined,
    actions: readonly Action[],
    memory: Memory,
    now: Millis,
  ): Promise<void> {
    const desired = decision?.desired ?? 0;
    const told = actions.flatMap((action) => describe(action) ?? []);
    memory.desired ??= await readDesiredOf(this.#context.redis, name);
    const text = told.join('\n');
    const repeated = memory.written?.text === text && now - memory.written.at < REPEATED_WITHIN;
    if (memory.desired === desired && (told.length === 0 || repeated)) return;
    const { rule, reason } = ruleOf(actions) ?? decision ?? { rule: 'none', reason: 'no revision has traffic' };
    await writeDecision(
      this.#context.redis,
      { at: now, function: name, rule, reason, inputs: decision?.inputs ?? {}, actions: told },
      desired,
    );
    memory.desired = desired;
    memory.written = { text, at: now };
    this.#context.log.info({ fn: name, rule, desired, actions: told }, 'decided');
  }
}

/** What passes with time only: a verdict or a count that is awaited, a peak or an idle time that is over. */
function lookAgainIn(
  fn: FunctionRecord,
  instances: readonly InstanceRecord[],
  decision: ScaleDecision | undefined,
  actions: readonly Action[],
): Millis {
  const alive = instances.filter((one) => one.state === 'starting' || one.state === 'ready').length;
  if (fn.candidate || actions.length > 0) return 0; // The next tick.
  const aliased = aliasedOnly(fn);
  if (instances.some((one) => !one.end && aliased.has(one.revision))) return 0;
  if (!decision) return Infinity;
  const unsettled = decision.rule === 'no-reports' ? instances.length > 0 : alive !== decision.desired;
  if (unsettled) return 0;
  if (decision.idleAfter === 0) return Infinity;
  return alive > 1 ? 0 : decision.idleAfter;
}

/** What happens to revisions and nodes outranks the count in the diary. */
function ruleOf(actions: readonly Action[]): { rule: string; reason: string } | undefined {
  for (const action of actions) {
    if (action.type === 'promote') return { rule: 'promote', reason: 'an instance of the new revision is ready' };
    if (action.type === 'fail') return { rule: 'candidate-failed', reason: action.problem.detail };
    if (action.type === 'try') return { rule: 'candidate', reason: 'a new revision has to prove itself' };
    if (action.type === 'lost') return { rule: 'node-loss', reason: `node ${action.node} is gone` };
    if (action.type === 'stop' && action.reason === 'replaced') {
      return { rule: 'drain-old', reason: 'the revision has no traffic any more' };
    }
    if (action.type === 'stop' && action.reason === 'removed') {
      return { rule: 'remove', reason: 'the function is being removed' };
    }
  }
  return undefined;
}
