/** The policies of fn.yaml as the gateway applies them: made once for a revision, read for each request. */

import { AddressSet } from '../../core/addresses.ts';
import type { FunctionSpec } from '../../core/spec.ts';
import { type Policies, policiesOf } from '../../core/policies.ts';
import type { Bytes } from '../../core/units.ts';
import { type RatePlan, ratePlanOf } from './rate.ts';

/** What is to be checked. */
export interface Plan {
  readonly allow: AddressSet | undefined;
  readonly auth: 'none' | 'key';
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
  return { own: planOf(own), http: http.map(planOf) };
}

function planOf({ auth = 'none', allow, rate, bodyLimit }: Policies): Plan | undefined {
  if (auth === 'none' && !allow && rate === undefined && bodyLimit === undefined) return undefined;
  return {
    auth,
    allow: allow && new AddressSet(allow),
    rate: rate === undefined ? undefined : ratePlanOf(rate),
    bodyLimit,
  };
}
