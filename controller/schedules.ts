/** Cron triggers. Each is a BullMQ job scheduler on the function's async queue, so a run is a durable job like any other
 *  asynchronous invocation: retried, visible, and drained with the function. The scheduler's id is a hash of schedule and
 *  time zone: an unchanged trigger keeps its scheduler through a deploy, a changed one is another. */

import { createHash } from 'node:crypto';
import { getNextMillis } from 'bullmq';
import type { Redis } from 'ioredis';
import { HEADERS } from '../core/control.ts';
import { FnError } from '../core/errors.ts';
import type { FunctionName } from '../core/ids.ts';
import {
  ASYNC_ACTIVE_SET,
  ASYNC_ATTEMPTS,
  ASYNC_CHANNEL,
  type AsyncJob,
  asyncQueue,
  openQueue,
} from '../core/queues.ts';
import { type CronTrigger, cronTriggers, type FunctionSpec } from '../core/spec.ts';

/** Makes the schedulers of the queue exactly those of the triggers. */
export async function syncSchedules(redis: Redis, name: FunctionName, triggers: readonly CronTrigger[]): Promise<void> {
  const queue = openQueue<AsyncJob>(asyncQueue(name), redis);
  try {
    const wanted = new Map(triggers.map((trigger) => [schedulerId(trigger), trigger]));
    const present = new Set((await queue.getJobSchedulers()).map((scheduler) => scheduler.key));
    for (const id of present) if (!wanted.has(id)) await queue.removeJobScheduler(id);
    const missing = [...wanted].filter(([id]) => !present.has(id));
    if (missing.length === 0) return;
    await redis.sadd(ASYNC_ACTIVE_SET, name); // Before the job: see core/queues.ts.
    for (const [id, { schedule, timezone }] of missing) {
      await queue.upsertJobScheduler(
        id,
        { pattern: schedule, tz: timezone },
        {
          name: 'cron',
          data: {
            method: 'POST',
            path: '/',
            headers: { 'content-type': 'application/json', [HEADERS.queue]: 'cron' },
            body: JSON.stringify({ schedule }),
          },
          opts: { attempts: ASYNC_ATTEMPTS },
        },
      );
    }
    await redis.publish(ASYNC_CHANNEL, name);
  } finally {
    await queue.close();
  }
}

/** Refuses at deploy what would never fire. */
export function checkSchedules(spec: FunctionSpec, now: number): void {
  for (const { schedule, timezone } of cronTriggers(spec)) {
    if (!isTimeZone(timezone)) {
      throw new FnError('spec.invalid', `triggers: "${timezone}" is not a time zone`, {
        hint: 'Use an IANA name such as UTC or Europe/Berlin.',
      });
    }
    if (nextRun(schedule, timezone, now) === undefined) {
      throw new FnError('spec.invalid', `triggers: "${schedule}" is not a cron schedule that ever fires`, {
        hint: 'Use five fields (minute hour day month weekday), or six with seconds first, such as "*/5 * * * *".',
      });
    }
  }
}

/** Unix ms of the first run after `now`, by the same code that BullMQ schedules with. */
function nextRun(schedule: string, tz: string, now: number): number | undefined {
  const fields = schedule.trim().split(/\s+/).length;
  if (fields !== 5 && fields !== 6 && !schedule.startsWith('@')) return undefined; // The parser would guess the rest.
  try {
    return getNextMillis(now, { pattern: schedule, tz });
  } catch {
    return undefined;
  }
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function schedulerId({ schedule, timezone }: CronTrigger): string {
  return `cron-${createHash('sha256').update(`${schedule}\n${timezone}`).digest('hex').slice(0, 12)}`;
}
