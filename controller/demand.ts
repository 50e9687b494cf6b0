/** How many instances a function's revisions should have: what is measured of them, put to autoscale.ts. Windows of load and
 *  panic are kept by each controller for itself; all read the same reports. */

import type { Redis } from 'ioredis';
import { aliasedOnly } from '../core/aliases.ts';
import type { FunctionName, NodeId, RevisionId } from '../core/ids.ts';
import { ASYNC_ACTIVE_SET, asyncQueue, BEGINNINGS_HASH, LOAD_HASH, OWN_PREFIX, USER_PREFIX } from '../core/queues.ts';
import { queueDepths } from '../core/queue-depth.ts';
import type { BeginningsReport, FunctionRecord, InstanceRecord, LoadReport } from '../core/records.ts';
import { type FunctionSpec, queueTriggers } from '../core/spec.ts';
import { autoscale, type Panic, type ScaleDecision, type ScaleSpec } from './autoscale.ts';
import { BeginningsBook } from './beginnings-book.ts';
import { LoadBook } from './load-book.ts';
import { isAlive } from './plan.ts';
import type { View } from './view.ts';

/** `cheaply`: functions that had no jobs at the last measurement have none now. */
export type Care = 'cheaply' | 'thoroughly';

export class Demand {
  readonly #redis: Redis;
  readonly #view: View;
  readonly #book = new LoadBook();
  readonly #begun = new BeginningsBook();
  /** Functions whose async queue may hold jobs. */
  #withJobs: ReadonlySet<string> = new Set();
  /** Losing one costs a panic. */
  readonly #panics = new Map<FunctionName, Panic>();

  constructor(redis: Redis, view: View) {
    this.#redis = redis;
    this.#view = view;
  }

  /** Reads what gateways and workers report and returns the functions that have load.
   *  @param now monotonic. */
  async measure(now: number): Promise<Set<FunctionName>> {
    const [loads, withJobs, begun] = await Promise.all([
      this.#redis.hgetall(LOAD_HASH),
      this.#redis.smembers(ASYNC_ACTIVE_SET),
      this.#redis.hgetall(BEGINNINGS_HASH),
    ]);
    const nodes = Object.entries(begun) as [NodeId, string][];
    this.#begun.record(new Map(nodes.map(([node, text]) => [node, JSON.parse(text) as BeginningsReport])), now);
    this.#withJobs = new Set(withJobs);
    const reports = Object.values(loads).map((text) => JSON.parse(text) as LoadReport);
    const active = this.#book.record(reports, now);
    const dead = this.#book.dead(now);
    if (dead.length > 0) await this.#redis.hdel(LOAD_HASH, ...dead);
    return active;
  }

  /** Of the revisions with traffic, together; undefined while none has any. */
  async of(fn: FunctionRecord, instances: readonly InstanceRecord[], care: Care): Promise<ScaleDecision | undefined> {
    const spec = this.#view.liveRevision(fn)?.spec;
    if (!spec || fn.deletingSince !== undefined) return undefined;
    const inTraffic = new Set(fn.traffic.map(({ revision }) => revision));
    const own = instances.filter((one) => inTraffic.has(one.revision));
    // What a revision that has just lost its traffic was busy with will keep its successor busy.
    const aliased = aliasedOnly(fn);
    const counted = this.#view.revisions(fn.name).flatMap(({ id }) => (aliased.has(id) ? [] : [id]));
    const backlog = await this.#backlog(fn.name, spec, care);
    const decision = this.#decide(spec, counted, own, backlog, this.#panics.get(fn.name));
    if (decision.panic) this.#panics.set(fn.name, decision.panic);
    else this.#panics.delete(fn.name);
    return decision;
  }

  /** Of each revision that only aliases point at: they start when somebody calls, and go when nobody does. */
  ofAliased(fn: FunctionRecord, instances: readonly InstanceRecord[]): Map<RevisionId, number> {
    return new Map(
      [...aliasedOnly(fn)].map((id) => {
        const own = instances.filter((one) => one.revision === id);
        const spec = this.#view.revision(id)?.spec;
        if (!spec || !own.some(isAlive)) return [id, 0];
        const onDemand = { ...spec, scale: { ...spec.scale, min: 0 } };
        return [id, this.#decide(onDemand, [id], own, 0).desired];
      }),
    );
  }

  /** The node of each start of the revision that has no record yet. */
  begun(revision: RevisionId, instances: readonly InstanceRecord[]): NodeId[] {
    return this.#begun.of(revision, instances, performance.now());
  }

  forget(name: FunctionName): void {
    this.#panics.delete(name);
  }

  /** @param counted whose load it is; @param own the instances that are to carry it, ended ones too. */
  #decide(
    spec: ScaleSpec,
    counted: readonly RevisionId[],
    own: readonly InstanceRecord[],
    backlog: number,
    panic?: Panic,
  ): ScaleDecision {
    const now = performance.now();
    // An instance that ended may have been the newest: what it leaves behind is replaced until the idle time is over.
    const readyAt = Math.max(...own.flatMap((one) => one.readyAt ?? []));
    const load = { ...this.#book.read(counted, now, spec.scale.idle, Date.now() - readyAt), backlog };
    const alive = own.filter(isAlive);
    const ready = alive.filter((one) => one.state === 'ready').length;
    return autoscale(spec, load, { ready, alive: alive.length, ...(panic && { panic }) }, now);
  }

  /** Jobs that wait or run, of each queue as many as its consumer takes at once. */
  async #backlog(name: FunctionName, spec: FunctionSpec, care: Care): Promise<number> {
    const slots = spec.scale.max * spec.concurrency;
    const mayHaveJobs = care === 'thoroughly' || this.#withJobs.has(name);
    const sources = [
      ...(mayHaveJobs ? [{ prefix: OWN_PREFIX, name: asyncQueue(name), atOnce: slots }] : []),
      ...queueTriggers(spec).map((queue) => ({
        prefix: USER_PREFIX,
        name: queue.name,
        atOnce: queue.concurrency ?? slots,
      })),
    ];
    const depths = await queueDepths(this.#redis, sources);
    return depths.reduce(
      (sum, { waiting, active }, index) => sum + Math.min(waiting + active, sources[index]?.atOnce ?? 0),
      0,
    );
  }
}
