/** Where a request goes: function records in, a target out. By name (`/function/<name>/…`), by host (`<name>.<domain>`), or
 *  by the hosts, paths and methods in `triggers.http`. Paths are compared as they came, percent-encoding included, and
 *  passed on the same way, so there is no second reading of a path to slip through.
 *
 *  Precedence, the same on every gateway: `<name>.<domain>`; then routes that name the host; then our own paths; then
 *  routes that name none. Among routes: the exact path; then the longest pattern; then one that names the method before
 *  one that takes all; then the older function; then the name. A deploy is refused whose routes are another's
 *  (controller/route-conflicts.ts), so the last two decide nothing between functions; they keep gateways alike anyway. */

import type { FunctionName, RevisionId } from '../core/ids.ts';
import type { FunctionRecord, RevisionRecord } from '../core/records.ts';
import { type HttpTrigger, httpTriggers } from '../core/spec.ts';
import type { Weighted } from './balancer.ts';
import { type FunctionPlans, NO_PLANS, type Plan, plansOf } from './policy/plan.ts';

export interface TrafficTarget extends Weighted {
  readonly revision: RevisionRecord;
}

export interface FunctionRoute {
  readonly name: FunctionName;
  readonly createdAt: number;
  /** Empty until a first revision is ready. */
  readonly targets: readonly TrafficTarget[];
  /** What is checked before a request goes there: the policies of the newest revision, for all of them. */
  readonly plans: FunctionPlans;
}

export interface PathRoute {
  readonly route: FunctionRoute;
  readonly methods: readonly string[] | undefined;
  readonly plan: Plan | undefined;
}

export type PathMatch = PathRoute | { readonly allow: readonly string[] } | undefined;

export class RouteTable {
  readonly #functions = new Map<string, FunctionRoute>();
  #hosts = new Map<string, PathIndex>();
  #anyHost = new PathIndex();
  #stale = false;

  get(name: string): FunctionRoute | undefined {
    return this.#functions.get(name);
  }

  values(): IterableIterator<FunctionRoute> {
    return this.#functions.values();
  }

  /** Takes a function's record and its revisions; `undefined` removes it. */
  set(
    name: FunctionName,
    record: FunctionRecord | undefined,
    revision: (id: RevisionId) => RevisionRecord | undefined,
  ): void {
    const before = this.#functions.get(name);
    if (!record || record.deletingSince !== undefined) this.#functions.delete(name);
    else {
      const targets = record.traffic.flatMap(({ revision: id, weight }) => {
        const found = revision(id);
        const current = before?.targets.find((target) => target.revision.id === id)?.current ?? 0;
        return found ? [{ revision: found, weight, current }] : [];
      });
      const newest = targets.at(-1)?.revision.spec;
      const plans = newest ? plansOf(newest) : NO_PLANS;
      this.#functions.set(name, { name, createdAt: record.createdAt, targets, plans });
    }
    const after = this.#functions.get(name);
    if (triggersOf(before).length > 0 || triggersOf(after).length > 0) this.#stale = true;
  }

  /** Who serves this path; the methods it would serve when this one is not among them. */
  match(method: string, path: string): PathMatch {
    if (this.#stale) this.#rebuild();
    return this.#anyHost.match(method, path);
  }

  /** The same among the routes that name the host, which is given as it came; path and query. */
  matchHost(host: string, method: string, target: string): PathMatch {
    if (this.#stale) this.#rebuild();
    if (this.#hosts.size === 0) return undefined;
    const colon = host.indexOf(':');
    const routes = this.#hosts.get((colon < 0 ? host : host.slice(0, colon)).toLowerCase());
    return routes?.match(method, pathOf(target));
  }

  #rebuild(): void {
    this.#stale = false;
    this.#hosts = new Map();
    this.#anyHost = new PathIndex();
    for (const route of this.#functions.values()) {
      for (const [at, trigger] of triggersOf(route).entries()) {
        let index = trigger.host === undefined ? this.#anyHost : this.#hosts.get(trigger.host);
        if (!index) this.#hosts.set(trigger.host!, (index = new PathIndex()));
        index.add(trigger.path, { route, methods: trigger.methods, plan: route.plans.http[at] });
      }
    }
    for (const index of [this.#anyHost, ...this.#hosts.values()]) index.sort();
  }
}

/** The routes of one host, or of all. */
class PathIndex {
  readonly #exact = new Map<string, PathRoute[]>();
  readonly #prefixes = new Map<string, PathRoute[]>();
  /** Lengths of the prefixes, longest first: a look-up costs one map access for each, however many routes there are. */
  #prefixLengths: number[] = [];

  add(path: string, route: PathRoute): void {
    const isPrefix = path.endsWith('*');
    const key = isPrefix ? path.slice(0, -1) : path;
    const map = isPrefix ? this.#prefixes : this.#exact;
    const list = map.get(key);
    if (list) list.push(route);
    else map.set(key, [route]);
  }

  /** To be called once all are in. */
  sort(): void {
    for (const list of [...this.#exact.values(), ...this.#prefixes.values()]) list.sort(byPrecedence);
    this.#prefixLengths = [...new Set([...this.#prefixes.keys()].map((key) => key.length))].sort((a, b) => b - a);
  }

  match(method: string, path: string): PathMatch {
    let allow: readonly string[] | undefined;
    const consider = (routes: PathRoute[] | undefined): PathRoute | undefined => {
      const found = routes?.find((one) => one.methods === undefined || one.methods.includes(method));
      if (routes && !found) allow ??= [...new Set(routes.flatMap((one) => one.methods ?? []))];
      return found;
    };
    let found = consider(this.#exact.get(path));
    for (const length of this.#prefixLengths) {
      if (found) break;
      if (length <= path.length) found = consider(this.#prefixes.get(path.slice(0, length)));
    }
    return found ?? (allow && { allow });
  }
}

/** A target without its query. */
export function pathOf(target: string): string {
  const mark = target.indexOf('?');
  return mark < 0 ? target : target.slice(0, mark);
}

function triggersOf(route: FunctionRoute | undefined): readonly HttpTrigger[] {
  const newest = route?.targets.at(-1)?.revision.spec;
  return newest ? httpTriggers(newest) : [];
}

function byPrecedence(a: PathRoute, b: PathRoute): number {
  return (
    Number(a.methods === undefined) - Number(b.methods === undefined) ||
    a.route.createdAt - b.route.createdAt ||
    (a.route.name < b.route.name ? -1 : 1)
  );
}
