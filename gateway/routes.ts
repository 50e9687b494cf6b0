/** Where a request goes: function records in, a target out. By name (`/function/<name>/…`), by host (`<name>.<domain>`), or
 *  by the paths and methods in `triggers.http`. Paths are compared as they came, percent-encoding included, and passed on
 *  the same way, so there is no second reading of a path to slip through.
 *
 *  Precedence, the same on every gateway: the host; then our own paths; then the exact path; then the longest pattern; then
 *  a route that names the method before one that takes all; then the older function; then the name. */

import type { FunctionName, RevisionId } from '../core/ids.ts';
import type { FunctionRecord, RevisionRecord } from '../core/records.ts';
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
  #exact = new Map<string, PathRoute[]>();
  #prefixes = new Map<string, PathRoute[]>();
  /** Lengths of the prefixes, longest first: a look-up costs one map access for each, however many routes there are. */
  #prefixLengths: number[] = [];
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

  #rebuild(): void {
    this.#stale = false;
    this.#exact = new Map();
    this.#prefixes = new Map();
    for (const route of this.#functions.values()) {
      for (const [index, { path, methods }] of triggersOf(route).entries()) {
        const isPrefix = path.endsWith('*');
        const key = isPrefix ? path.slice(0, -1) : path;
        const map = isPrefix ? this.#prefixes : this.#exact;
        const list = map.get(key) ?? [];
        list.push({ route, methods, plan: route.plans.http[index] });
        map.set(key, list);
      }
    }
    for (const list of [...this.#exact.values(), ...this.#prefixes.values()]) list.sort(byPrecedence);
    this.#prefixLengths = [...new Set([...this.#prefixes.keys()].map((key) => key.length))].sort((a, b) => b - a);
  }
}

function triggersOf(route: FunctionRoute | undefined) {
  const newest = route?.targets.at(-1)?.revision.spec.triggers ?? [];
  return newest.flatMap((trigger) => ('http' in trigger ? [trigger.http] : []));
}

function byPrecedence(a: PathRoute, b: PathRoute): number {
  return (
    Number(a.methods === undefined) - Number(b.methods === undefined) ||
    a.route.createdAt - b.route.createdAt ||
    (a.route.name < b.route.name ? -1 : 1)
  );
}
