/** The last step of `fn rm`, taken once no instance is left: everything that belongs to the function goes, its record last,
 *  so that a crash in between is finished by the next look. */

import type { FunctionName } from '../core/ids.ts';
import { removeInvocations } from '../core/invocation-log.ts';
import { removeLogs } from '../core/logs.ts';
import { ASYNC_ACTIVE_SET, asyncQueue, openQueue } from '../core/queues.ts';
import { forgetDecisions } from './diary.ts';
import type { ActionDeps } from './actions.ts';
import { forgetTicket } from './deploy-ticket.ts';

export async function finishDeletion({ config, redis, store }: ActionDeps, name: FunctionName): Promise<void> {
  const fn = await store.get('function', name);
  if (fn?.value.deletingSince === undefined) return;

  const queue = openQueue(asyncQueue(name), redis);
  try {
    for (const scheduler of await queue.getJobSchedulers()) await queue.removeJobScheduler(scheduler.key);
    await queue.obliterate({ force: true });
  } finally {
    await queue.close();
  }
  await redis.srem(ASYNC_ACTIVE_SET, name);
  for (const kind of ['instance', 'revision'] as const) {
    for (const { key, value } of await store.list(kind)) if (value.function === name) await store.delete(kind, key);
  }
  await removeInvocations(redis, name);
  await removeLogs(config.paths.logs, name);
  await forgetDecisions(redis, name);
  await forgetTicket(redis, name);
  await store.delete('function', name, { ifVersion: fn.version });
}
