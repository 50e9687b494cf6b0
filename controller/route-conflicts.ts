/** Whether a specification may have the routes it asks for. A route is a host, a path pattern as it is written, and methods;
 *  it has one owner. Patterns that only overlap (`/api/*` and `/api/thumbs/*`) are no conflict: the gateway takes the
 *  longest (gateway/routes.ts). Pure; controller/deploy.ts sees to it that the answer still holds when it is acted upon. */

import type { FunctionName } from '../core/ids.ts';
import { FnError } from '../core/errors.ts';
import type { FunctionRecord, RevisionRecord } from '../core/records.ts';
import { type FunctionSpec, type HttpTrigger, httpTriggers } from '../core/spec.ts';

export interface RouteOwner {
  readonly name: FunctionName;
  readonly http: readonly HttpTrigger[];
}

/** Paths that the gateway answers itself, where no host is named. */
const OWN_PATHS = ['/', '/healthz'];
const OWN_PREFIXES = ['/function/', '/async/', '/invocations/'];

/** Who owns routes now: functions with the revisions that get traffic or are about to. */
export function routeOwners(functions: readonly FunctionRecord[], revisions: readonly RevisionRecord[]): RouteOwner[] {
  const byId = new Map(revisions.map((revision) => [revision.id, revision]));
  return functions.flatMap(({ name, traffic, candidate, deletingSince }) => {
    if (deletingSince !== undefined) return [];
    const ids = [...traffic, ...(candidate ? [candidate] : [])].map((one) => one.revision);
    return ids.flatMap((id) => {
      const spec = byId.get(id)?.spec;
      return spec ? { name, http: httpTriggers(spec) } : [];
    });
  });
}

/** @param domain FN_DOMAIN, or empty. @throws FnError route.conflict, spec.invalid. */
export function checkRoutes(spec: FunctionSpec, owners: readonly RouteOwner[], domain: string): void {
  for (const wanted of httpTriggers(spec)) {
    checkOwn(spec.name, wanted, domain.toLowerCase());
    for (const { name, http } of owners) {
      if (name === spec.name) continue;
      const taken = http.find((one) => overlap(one, wanted));
      if (taken) throw conflict(spec.name, wanted, name, taken);
    }
  }
}

function overlap(a: HttpTrigger, b: HttpTrigger): boolean {
  return a.host === b.host && a.path === b.path && common(a, b).length !== 0;
}

/** The methods both would serve; undefined stands for all. */
function common({ methods: a }: HttpTrigger, { methods: b }: HttpTrigger): readonly string[] | 'all' {
  if (!a || !b) return a ?? b ?? 'all';
  return a.filter((method) => b.includes(method));
}

function conflict(asking: FunctionName, wanted: HttpTrigger, owner: FunctionName, taken: HttpTrigger): FnError {
  const methods = common(wanted, taken);
  const which = methods === 'all' ? 'every method' : methods.join(', ');
  const route = `${wanted.host ?? ''}${wanted.path}`;
  return new FnError('route.conflict', `${asking} wants ${route} (${which}), which is a route of ${owner}`, {
    hint:
      `Change the path, host or methods in triggers.http of ${asking}, or give the route up: deploy ${owner} without it, ` +
      `or "fn rm ${owner}".`,
    data: { function: asking, owner, path: wanted.path, ...(wanted.host && { host: wanted.host }), methods },
  });
}

function checkOwn(name: FunctionName, { host, path }: HttpTrigger, domain: string): void {
  if (host === undefined) {
    if (!OWN_PATHS.includes(path) && !OWN_PREFIXES.some((prefix) => path.startsWith(prefix))) return;
    throw new FnError('route.conflict', `${name} wants ${path}, which the gateway answers itself`, {
      hint: 'Use another path in triggers.http, or name a host of its own there.',
      data: { function: name, owner: 'gateway', path },
    });
  }
  if (domain === '' || (host !== domain && !host.endsWith(`.${domain}`))) return;
  throw new FnError('route.conflict', `${name} wants the host ${host}, but ${domain} is the domain of all functions`, {
    hint: `Functions are at <name>.${domain} by themselves. Use a host outside of it, or another FN_DOMAIN.`,
    data: { function: name, owner: 'gateway', host },
  });
}
