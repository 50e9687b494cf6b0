/** The policies of fn.yaml as the gateway applies them: made once for a revision, read for each request. */

import { AddressSet } from '../../core/addresses.ts';
import { type FunctionSpec, httpTriggers } from '../../core/spec.ts';
import { type AuthPolicy, type Policies, policiesOf } from '../../core/policies.ts';
import type { Bytes } from '../../core/units.ts';
import { type CorsPlan, corsPlanOf } from './cors.ts';
import { type RatePlan, ratePlanOf } from './rate.ts';

/** What is to be checked. */
export interface Plan {
  readonly allow: AddressSet | undefined;
  readonly auth: AuthPolicy;
  readonly cors: CorsPlan | undefined;
  readonly rate: RatePlan | undefined;
  readonly bodyLimit: Bytes | undefined;
}

export interface FunctionPlans {
  /** By name, by host, asynchronously; undefined when nothing is to be checked. */
  readonly own: Plan | undefined;
  /** By the function's http triggers, in their order. */
  readonly http: readonly (Plan | undefined)[];
}

export const NO_PLANS: FunctionPlans = { own: undefined, http: [] };

export function plansOf(spec: FunctionSpec): FunctionPlans {
  const { own, http } = policiesOf(spec);
  const triggers = httpTriggers(spec);
  return { own: planOf(own), http: http.map((policies, index) => planOf(policies, triggers[index]?.methods)) };
}

/** @param methods those of the trigger; undefined: all. */
function planOf(policies: Policies, methods?: readonly string[]): Plan | undefined {
  const { auth = 'none', allow, cors, rate, bodyLimit } = policies;
  if (auth === 'none' && !allow && !cors && rate === undefined && bodyLimit === undefined) return undefined;
  return {
    auth,
    cors: cors && corsPlanOf(cors, methods),
    allow: allow && new AddressSet(allow),
    rate: rate === undefined ? undefined : ratePlanOf(rate),
    bodyLimit,
  };
}
