/** The policies of fn.yaml as the gateway applies them: made once for a revision, read for each request. */

import type { FunctionSpec } from '../../core/spec.ts';
import { type Policies, policiesOf } from '../../core/policies.ts';

/** What is to be checked; never empty. */
export interface Plan {
  readonly auth: 'key';
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

function planOf({ auth }: Policies): Plan | undefined {
  return auth === 'key' ? { auth } : undefined;
}
