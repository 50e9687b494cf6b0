/** Records as the API shows them. */

import type { FunctionRecord, InstanceRecord } from '../../core/records.ts';
import type { FunctionSpec } from '../../core/spec.ts';
import type { Millis } from '../../core/units.ts';
import { backoffUntil } from '../plan.ts';
import type { View } from '../view.ts';
import type { FunctionSummary } from './schemas.ts';

export function summarize(
  view: View,
  fn: FunctionRecord,
  desired: number,
  gatewayUrl: string,
  now: Millis,
): FunctionSummary {
  const live = view.liveRevision(fn);
  const instances = view.instances(fn.name);
  return {
    name: fn.name,
    url: `${gatewayUrl}/function/${fn.name}`,
    state: stateOf(fn, instances, now),
    revision: live?.id ?? null,
    image: live?.image ?? null,
    ready: instances.filter((one) => one.state === 'ready' && one.revision === live?.id).length,
    desired,
    triggers: live ? triggersOf(live.spec) : [],
    createdAt: fn.createdAt,
    updatedAt: fn.updatedAt,
  };
}

function stateOf(fn: FunctionRecord, instances: readonly InstanceRecord[], now: Millis): FunctionSummary['state'] {
  if (fn.deletingSince !== undefined) return 'removing';
  const live = fn.traffic[0]?.revision;
  if (live === undefined) return fn.candidate ? 'deploying' : 'failed';
  const own = instances.filter((one) => one.revision === live);
  if (own.some((one) => one.state === 'ready')) return 'ready';
  if (own.some((one) => one.state === 'starting')) return 'starting';
  return backoffUntil(live, instances) > now ? 'failing' : 'idle';
}

function triggersOf(spec: FunctionSpec): string[] {
  return spec.triggers.map((trigger) => {
    if ('http' in trigger) return `http ${trigger.http.host ?? ''}${trigger.http.path}`;
    if ('queue' in trigger) return `queue ${trigger.queue.name}`;
    return `cron ${trigger.cron.schedule} ${trigger.cron.timezone}`;
  });
}
