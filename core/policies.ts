/** Who may call a function: the keys of fn.yaml that its gateway enforces before the function hears of a request. They stand
 *  at the top of the file, for every way in, or under an http trigger, where they replace those at the top for requests that
 *  come by that path.
 *
 *  A key that only http triggers have holds for the other ways in too (/function/<name>, the host, /async/<name>): nobody
 *  who closes the path leaves the rest open by forgetting about it. When triggers differ there is nothing to take, so the
 *  key must be written at the top. */

import { z } from 'zod';

const AUTH = 'none or key';

const auth = z.enum(['none', 'key'], AUTH).meta({ allowed: AUTH });

/** The same keys in both places. */
export const policyShape = {
  auth: auth.optional().describe('Who may call: anyone (`none`, the default), or whoever has an [API key](auth.md)'),
};

const policySchema = z.strictObject(policyShape);
/** As written: what is absent is not restricted. */
export type Policies = z.output<typeof policySchema>;

const KEYS = Object.keys(policyShape) as (keyof Policies)[];

interface PolicyHolder extends Policies {
  readonly triggers: readonly ({ readonly http: Policies } | object)[];
}

export interface FunctionPolicies {
  /** By name, by host, asynchronously. */
  readonly own: Policies;
  /** By the function's http triggers, in their order. */
  readonly http: readonly Policies[];
}

/** What holds for each way into the function. */
export function policiesOf(spec: PolicyHolder): FunctionPolicies {
  const triggers = httpTriggers(spec);
  const own = pick((key) => spec[key] ?? statedBy(triggers, key)[0]);
  return { own, http: triggers.map((trigger) => pick((key) => trigger[key] ?? own[key])) };
}

/** The keys that must be written at the top, because the http triggers disagree about them. */
export function undecidedPolicies(spec: PolicyHolder): string[] {
  return KEYS.filter((key) => spec[key] === undefined && statedBy(httpTriggers(spec), key).length > 1);
}

function httpTriggers(spec: PolicyHolder): Policies[] {
  return spec.triggers.flatMap((trigger) => ('http' in trigger ? [trigger.http] : []));
}

/** The different values that triggers give a key. */
function statedBy(triggers: readonly Policies[], key: keyof Policies): Policies[keyof Policies][] {
  const stated = triggers.map((trigger) => trigger[key]).filter((value) => value !== undefined);
  return [...new Map(stated.map((value) => [JSON.stringify(value), value])).values()];
}

function pick(valueOf: (key: keyof Policies) => unknown): Policies {
  return Object.fromEntries(
    KEYS.map((key) => [key, valueOf(key)] as const).filter(([, value]) => value !== undefined),
  ) as Policies;
}
