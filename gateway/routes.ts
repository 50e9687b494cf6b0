/** Where a request goes: function records in, a target out. By name (`/function/<name>/…`), by host (`<name>.<domain>`), each
 *  with an alias or a revision's number if wanted (`<name>@<alias>`, `<alias>.<name>.<domain>`), or by the hosts, paths and methods in `triggers.http`. Paths are compared as they came, percent-encoding included, and
 *  passed on the same way, so there is no second reading of a path to slip through.
 *
 *  Precedence, the same on every gateway: `<name>.<domain>`; then routes that name the host; then our own paths; then
 *  routes that name none. Among routes: the exact path; then the longest pattern; then one that names the method before
 *  one that takes all; then the older function; then the name. A deploy is refused whose routes are another's
 *  (controller/route-conflicts.ts), so the last two decide nothing between functions; they keep gateways alike anyway. */

import { aliasShares, calleeOf, numberOf } from '../core/aliases.ts';
import type { FunctionName, RevisionId } from '../core/ids.ts';
import type { FunctionRecord, RevisionRecord, Share } from '../core/records.ts';
import { type HttpTrigger, httpTriggers } from '../core/spec.ts';
import type { Weighted } from './balancer.ts';
import { type FunctionPlans, NO_PLANS, type Plan, plansOf } from './policy/plan.ts';
import { parseSticky, type StickyKey } from './sticky.ts';

export interface TrafficTarget extends Weighted {
  readonly revision: RevisionRecord;
}

export interface FunctionRoute {
  readonly name: FunctionName;
  readonly createdAt: number;
  /** Empty until a first revision is ready. */
  readonly targets: readonly TrafficTarget[];
  /** What is checked before a request goes there: the policies of the newest revision with traffic, for all of them and for
   *  aliases too. */
  readonly plans: FunctionPlans;
  /** What tells requests apart that must stay at one revision. */
  readonly sticky: StickyKey | undefined;
  /** Its aliases and the numbers of its revisions, as they are called. */
  readonly callees: readonly string[];
}

export interface PathRoute {
  readonly route: FunctionRoute;
  readonly methods: readonly string[] | undefined;
  readonly plan: Plan | undefined;
}

export type PathMatch = PathRoute | { readonly allow: readonly string[] } | undefined;

export class RouteTable {
  readonly #functions = new Map<string, FunctionRoute>();
  /** By callee: what aliases and revisions' numbers lead to. */
  readonly #qualified = new Map<string, FunctionRoute>();
  #hosts = new Map<string, PathIndex>();
  #anyHost = new PathIndex();
  #stale = false;

  /** @param callee a function's name, or name@alias, or name@number of a revision that has traffic or an alias. */
  get(callee: string): FunctionRoute | undefined {
    return this.#functions.get(callee) ?? this.#qualified.get(callee);
  }

  values(): IterableIterator<FunctionRoute> {
    return this.#functions.values();
  }

  /** Every revision that some callee leads to. */
  reachable(): Set<RevisionId> {
    const ids = new Set<RevisionId>();
    for (const routes of [this.#functions, this.#qualified]) {
      for (const { targets } of routes.values()) for (const target of targets) ids.add(target.revision.id);
    }
    return ids;
  }

  /** Takes a function's record and its revisions; `undefined` removes it. */
  set(
    name: FunctionName,
    record: FunctionRecord | undefined,
    revision: (id: RevisionId) => RevisionRecord | undefined,
  ): void {
    const before = this.#functions.get(name);
    const kept = new Map((before?.callees ?? []).map((callee) => [callee, this.#qualified.get(callee)]));
    for (const callee of kept.keys()) this.#qualified.delete(callee);
    if (!record || record.deletingSince !== undefined) this.#functions.delete(name);
    else {
      const targets = targetsOf(record.traffic, revision, before);
      const shares = aliasShares(record);
      const newest = (targets.at(-1) ?? targetsOf(shares, revision, undefined).at(-1))?.revision.spec;
      const callees: string[] = [];
      const route: FunctionRoute = {
        name,
        createdAt: record.createdAt,
        targets,
        sticky: newest?.sticky === undefined ? undefined : parseSticky(newest.sticky),
        plans: newest ? plansOf(newest) : NO_PLANS,
        callees,
      };
      this.#functions.set(name, route);
      const add = (qualifier: string, aimed: readonly Share[], sticky: StickyKey | undefined): void => {
        const callee = calleeOf(name, qualifier);
        callees.push(callee);
        this.#qualified.set(callee, {
          ...route,
          targets: targetsOf(aimed, revision, kept.get(callee)),
          sticky,
          callees: [],
        });
      };
      for (const [alias, { targets: aimed, sticky }] of Object.entries(record.aliases ?? {})) {
        add(alias, aimed, sticky === undefined ? route.sticky : parseSticky(sticky));
      }
      const ids = new Set([...record.traffic, ...shares].map((share) => share.revision));
      for (const id of ids) add(String(numberOf(id)), [{ revision: id, weight: 100 }], undefined);
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

function targetsOf(
  shares: readonly Share[],
  revision: (id: RevisionId) => RevisionRecord | undefined,
  before: FunctionRoute | undefined,
): TrafficTarget[] {
  return shares.flatMap(({ revision: id, weight }) => {
    const found = revision(id);
    const current = before?.targets.find((target) => target.revision.id === id)?.current ?? 0;
    return found ? [{ revision: found, weight, current }] : [];
  });
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
