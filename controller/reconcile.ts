/** The loop: look at one function, decide, act, write down why. Level-triggered: what is done follows from what is there, and
 *  not from what made us look. Functions are looked at when something of them changes in the store, when they have load (each
 *  second), when time may have changed the answer, and all of them every five seconds. */

import { aliasedOnly } from '../core/aliases.ts';
import { sleep } from '../core/clock.ts';
import { toFnError } from '../core/errors.ts';
import type { FunctionName } from '../core/ids.ts';
import type { FunctionRecord, InstanceRecord } from '../core/records.ts';
import type { ServiceContext } from '../core/service.ts';
import { cronTriggers } from '../core/spec.ts';
import type { Millis } from '../core/units.ts';
import { Actions } from './actions.ts';
import type { ScaleDecision } from './autoscale.ts';
import { Demand } from './demand.ts';
import { Diary } from './diary.ts';
import { LeaseWatch } from './lease-watch.ts';
import { LookQueue } from './look-queue.ts';
import { type Action, isAlive, planFunction } from './plan.ts';
import { syncSchedules } from './schedules.ts';
import { View } from './view.ts';

const TICK_EVERY: Millis = 1000;
const RESYNC_EVERY: Millis = 5000;

/** What this controller remembers of a function. */
interface Memory {
  /** Monotonic time from which another look may find something to do although nothing is written meanwhile. */
  lookAt?: Millis | undefined;
  /** The cron triggers last put in place. */
  schedules?: string;
}

export class Reconciler implements AsyncDisposable {
  readonly view: View;
  readonly #context: ServiceContext;
  readonly #looks: LookQueue;
  readonly #actions: Actions;
  readonly #demand: Demand;
  readonly #diary: Diary;
  readonly #leases = new LeaseWatch();
  readonly #memories = new Map<FunctionName, Memory>();
  readonly #closing = new AbortController();
  readonly #ticking: Promise<void>;

  private constructor(context: ServiceContext, view: View, looks: LookQueue) {
    this.#context = context;
    this.view = view;
    this.#looks = looks;
    this.#actions = new Actions(context);
    this.#demand = new Demand(context.redis, view);
    this.#diary = new Diary(context.redis, context.log);
    looks.work((name) => this.#look(name));
    this.#ticking = this.#tick();
  }

  static async open(context: ServiceContext): Promise<Reconciler> {
    const looks = new LookQueue(context);
    const view = await View.open(context.store, {
      onChange: (name) => looks.add([name]),
      onError: (error) => context.log.debug({ err: error }, 'snapshot'),
    });
    return new Reconciler(context, view, looks);
  }

  /** Looks at the function soon. */
  trigger(name: FunctionName): void {
    this.#looks.add([name]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#ticking;
    await this.view[Symbol.asyncDispose]();
    await this.#looks[Symbol.asyncDispose]();
    await this.#actions[Symbol.asyncDispose]();
  }

  async #tick(): Promise<void> {
    let resyncAt = 0;
    while (!this.#closing.signal.aborted) {
      const now = performance.now();
      try {
        this.#looks.add(await this.#demand.measure(now));
        this.#leases.observe(this.view.nodes(), this.view.referredNodes(), now);
      } catch (error) {
        this.#leases.interrupted();
        this.#context.log.debug({ err: error }, 'tick');
      }
      this.#looks.add([...this.#memories].flatMap(([name, { lookAt = Infinity }]) => (lookAt <= now ? [name] : [])));
      if (now >= resyncAt) {
        this.#looks.add(this.view.names());
        resyncAt = now + RESYNC_EVERY;
      }
      await sleep(TICK_EVERY, this.#closing.signal).catch(() => {});
    }
  }

  async #look(name: FunctionName): Promise<void> {
    const outcomes = this.#context.metrics.counter('fn_reconciles_total');
    try {
      const acted = await this.#reconcile(name);
      outcomes.inc({ outcome: acted ? 'acted' : 'nothing' });
    } catch (error) {
      outcomes.inc({ outcome: 'failed' });
      this.#context.log.warn({ fn: name, err: toFnError(error) }, 'reconcile failed');
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
      this.#demand.forget(name);
      this.#diary.forget(name);
      return false;
    }
    const memory = this.#memories.get(name) ?? {};
    this.#memories.set(name, memory);

    const now = Date.now();
    const nodes = this.view.nodes().filter((node) => node.expiresAt > now);
    const nodeIds = nodes.map((node) => node.id);
    const decision = fn && (await this.#demand.of(fn, instances));
    const startFailure =
      fn?.candidate && (await this.#actions.startFailure(nodeIds, fn.candidate.revision, fn.candidate.since));
    const actions = planFunction({
      fn,
      revisions: this.view.revisions(name),
      instances,
      nodes: nodeIds,
      lostNodes: this.#leases.lost(now, performance.now()),
      desired: decision?.desired ?? 0,
      aliased: fn ? this.#demand.ofAliased(fn, instances) : new Map(),
      ...(startFailure && { startFailure }),
      startTimeout: config.startTimeout,
      now,
    });
    for (const action of actions) await this.#actions.act(name, action, now);
    memory.lookAt = fn && performance.now() + lookAgainIn(fn, instances, decision, actions);
    if (fn) await this.#syncSchedules(fn, memory);
    if (fn && !actions.some((action) => action.type === 'finish-deletion')) {
      await this.#diary.write(name, decision, actions, now);
    }
    return actions.length > 0;
  }

  /** Schedules follow the traffic: a revision that never got any never fires. */
  async #syncSchedules(fn: FunctionRecord, memory: Memory): Promise<void> {
    const spec = fn.deletingSince === undefined && this.view.liveRevision(fn)?.spec;
    if (!spec) return;
    const triggers = cronTriggers(spec);
    const wanted = JSON.stringify(triggers);
    if (memory.schedules === wanted) return;
    await syncSchedules(this.#context.redis, fn.name, triggers);
    memory.schedules = wanted;
  }
}

/** What passes with time only: a verdict or a count that is awaited, a peak or an idle time that is over. */
function lookAgainIn(
  fn: FunctionRecord,
  instances: readonly InstanceRecord[],
  decision: ScaleDecision | undefined,
  actions: readonly Action[],
): Millis {
  const alive = instances.filter(isAlive).length;
  if (fn.candidate || actions.length > 0) return 0; // The next tick.
  const aliased = aliasedOnly(fn);
  if (instances.some((one) => !one.end && aliased.has(one.revision))) return 0;
  if (!decision) return Infinity;
  const unsettled = decision.rule === 'no-reports' ? instances.length > 0 : alive !== decision.desired;
  if (unsettled) return 0;
  if (decision.idleAfter === 0) return Infinity;
  return alive > 1 ? 0 : decision.idleAfter;
}
