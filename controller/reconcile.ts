/** The loop: look at one function, decide, act, write down why. Level-triggered: what is done follows from what is there, and
 *  not from what made us look. Functions are looked at when something of them changes in the store, when they have load (each
 *  second), when time may have changed the answer, and all of them every five seconds. A change of an instance that leaves as
 *  many as are wanted waits for the next tick: most are the beginning or the end of one that somebody asked for.
 *
 *  A look costs nothing outside this process until it finds something to do. That goes through a queue in Redis
 *  (act-queue.ts), so that one controller at a time acts on a function: it reads the record from the store, makes the decision
 *  again on that, and acts. */

import { aliasedOnly } from '../core/aliases.ts';
import { sleep } from '../core/clock.ts';
import { toFnError } from '../core/errors.ts';
import type { FunctionName } from '../core/ids.ts';
import type { FunctionRecord, InstanceRecord, Kind } from '../core/records.ts';
import type { ServiceContext } from '../core/service.ts';
import { type CronTrigger, cronTriggers } from '../core/spec.ts';
import type { Millis } from '../core/units.ts';
import { ActQueue } from './act-queue.ts';
import { Actions } from './actions.ts';
import type { ScaleDecision } from './autoscale.ts';
import { type Care, Demand } from './demand.ts';
import { Diary } from './diary.ts';
import { LeaseWatch } from './lease-watch.ts';
import { LookQueue } from './look-queue.ts';
import { type Action, isAlive, isShort, planFunction } from './plan.ts';
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
  /** How many instances were wanted at the last look. */
  desired?: number;
}

interface Found {
  readonly fn: FunctionRecord | undefined;
  readonly instances: readonly InstanceRecord[];
}

/** What a look came to. */
interface Finding extends Found {
  readonly decision: ScaleDecision | undefined;
  readonly actions: readonly Action[];
}

export class Reconciler implements AsyncDisposable {
  readonly view: View;
  readonly #context: ServiceContext;
  readonly #looks: LookQueue;
  readonly #acts: ActQueue;
  readonly #actions: Actions;
  readonly #demand: Demand;
  readonly #diary: Diary;
  readonly #leases = new LeaseWatch();
  readonly #memories = new Map<FunctionName, Memory>();
  /** Something of them changed that can wait for the next tick. */
  readonly #changed = new Set<FunctionName>();
  readonly #closing = new AbortController();
  readonly #ticking: Promise<void>;

  private constructor(context: ServiceContext, view: View) {
    this.#context = context;
    this.view = view;
    this.#looks = new LookQueue((name) => this.#reconcile(name, () => this.#look(name)));
    this.#acts = new ActQueue(context, (name) => this.#reconcile(name, () => this.#act(name)));
    this.#actions = new Actions(context);
    this.#demand = new Demand(context.redis, view);
    this.#diary = new Diary(context.redis, context.log);
    view.subscribe((name, kind) => this.#onChange(name, kind));
    this.#ticking = this.#tick(); // Which begins with looking at all of them.
  }

  static async open(context: ServiceContext): Promise<Reconciler> {
    const view = await View.open(context.store, (error) => context.log.debug({ err: error }, 'snapshot'));
    return new Reconciler(context, view);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#ticking;
    await this.view[Symbol.asyncDispose]();
    await this.#looks[Symbol.asyncDispose]();
    await this.#acts[Symbol.asyncDispose]();
    await this.#actions[Symbol.asyncDispose]();
  }

  #onChange(name: FunctionName, kind: Kind): void {
    if (kind === 'instance' && this.#canWait(name)) this.#changed.add(name);
    else this.#looks.add([name]);
  }

  /** The next look will start nothing, and nobody waits for what it stops. */
  #canWait(name: FunctionName): boolean {
    const fn = this.view.function(name);
    const desired = this.#memories.get(name)?.desired;
    if (!fn || desired === undefined || fn.candidate || fn.deletingSince !== undefined) return false;
    return aliasedOnly(fn).size === 0 && !isShort(fn, desired, this.view.instances(name));
  }

  async #tick(): Promise<void> {
    let resyncAt = 0;
    while (!this.#closing.signal.aborted) {
      const now = performance.now();
      try {
        const loaded = await this.#demand.measure(now);
        this.#leases.observe(this.view.nodes(), this.view.referredNodes(), now);
        this.#looks.add(loaded);
        this.#looks.add(this.#changed);
        this.#changed.clear();
        this.#looks.add([...this.#memories].flatMap(([name, { lookAt = Infinity }]) => (lookAt <= now ? [name] : [])));
        if (now >= resyncAt) {
          this.#looks.add(this.view.names());
          resyncAt = now + RESYNC_EVERY;
        }
      } catch (error) {
        // Redis is away, and nothing can be done.
        this.#leases.interrupted();
        this.#context.log.debug({ err: error }, 'tick');
      }
      await sleep(TICK_EVERY, this.#closing.signal).catch(() => {});
    }
  }

  /** Never rejects: a later look is the retry. */
  async #reconcile(name: FunctionName, step: () => Promise<'acted' | 'nothing' | 'queued'>): Promise<void> {
    const outcomes = this.#context.metrics.counter('fn_reconciles_total');
    try {
      const outcome = await step();
      if (outcome !== 'queued') outcomes.inc({ outcome });
    } catch (error) {
      outcomes.inc({ outcome: 'failed' });
      this.#context.log.warn({ fn: name, err: toFnError(error) }, 'reconcile failed');
    }
  }

  /** At what this process knows. */
  async #look(name: FunctionName): Promise<'nothing' | 'queued'> {
    const now = Date.now();
    const glance = { fn: this.view.function(name), instances: this.view.instances(name) };
    const seen = await this.#decide(name, glance, 'cheaply', now);
    if (!glance.fn?.candidate && seen.actions.length === 0 && !this.#schedulesToSet(glance.fn)) {
      await this.#remember(name, seen, now);
      return 'nothing';
    }
    this.#memory(name).lookAt = performance.now(); // Until it is known what came of it, also when another does it.
    await this.#acts.add(name);
    return 'queued';
  }

  async #act(name: FunctionName): Promise<'acted' | 'nothing'> {
    const now = Date.now();
    // Instances first, the function after: then no instance belongs to a revision the function record does not know yet.
    const instances = this.view.instances(name);
    const fn = (await this.#context.store.get('function', name))?.value;
    const found = await this.#decide(name, { fn, instances }, 'thoroughly', now);
    for (const action of found.actions) await this.#actions.act(name, action, now);
    await this.#syncSchedules(fn);
    await this.#remember(name, found, now);
    return found.actions.length > 0 ? 'acted' : 'nothing';
  }

  async #decide(name: FunctionName, found: Found, care: Care, now: Millis): Promise<Finding> {
    const { fn, instances } = found;
    if (!fn && instances.length === 0) return { ...found, decision: undefined, actions: [] };
    const nodes = this.view.nodes().flatMap((node) => (node.expiresAt > now ? [node.id] : []));
    const decision = fn && (await this.#demand.of(fn, instances, care));
    const startFailure =
      care === 'thoroughly' &&
      fn?.candidate &&
      (await this.#actions.startFailure(nodes, fn.candidate.revision, fn.candidate.since));
    const actions = planFunction({
      fn,
      revisions: this.view.revisions(name),
      instances,
      nodes,
      lostNodes: this.#leases.lost(now, performance.now()),
      beginnings: (revision) => this.#demand.begun(revision, instances),
      desired: decision?.desired ?? 0,
      aliased: fn ? this.#demand.ofAliased(fn, instances) : new Map(),
      ...(startFailure && { startFailure }),
      startTimeout: this.#context.config.startTimeout,
      now,
    });
    return { ...found, decision, actions };
  }

  /** Notes when to look again, and writes the diary. */
  async #remember(name: FunctionName, { fn, instances, decision, actions }: Finding, now: Millis): Promise<void> {
    if (!fn && instances.length === 0) {
      this.#memories.delete(name);
      this.#demand.forget(name);
      this.#diary.forget(name);
      return;
    }
    const memory = this.#memory(name);
    memory.desired = decision?.desired ?? 0;
    memory.lookAt = fn && performance.now() + lookAgainIn(fn, instances, decision, actions);
    if (fn && !actions.some((action) => action.type === 'finish-deletion')) {
      await this.#diary.write(name, decision, actions, now);
    }
  }

  #memory(name: FunctionName): Memory {
    let memory = this.#memories.get(name);
    if (!memory) this.#memories.set(name, (memory = {}));
    return memory;
  }

  /** The cron triggers to put in place, when those that are there may be others. Schedules follow the traffic: a revision that
   *  never got any never fires. */
  #schedulesToSet(fn: FunctionRecord | undefined): readonly CronTrigger[] | undefined {
    const spec = fn && fn.deletingSince === undefined && this.view.liveRevision(fn)?.spec;
    if (!spec) return undefined;
    const triggers = cronTriggers(spec);
    return JSON.stringify(triggers) === this.#memories.get(fn.name)?.schedules ? undefined : triggers;
  }

  async #syncSchedules(fn: FunctionRecord | undefined): Promise<void> {
    const triggers = this.#schedulesToSet(fn);
    if (!fn || !triggers) return;
    await syncSchedules(this.#context.redis, fn.name, triggers);
    this.#memory(fn.name).schedules = JSON.stringify(triggers);
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
