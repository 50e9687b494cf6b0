/** Takes back the jobs of a consumer that died. BullMQ waits for their locks to run out, half a minute and more, since it
 *  cannot know; a node's worker can: it sees whether the process that took them still runs. (One that was replaced may, and
 *  brings its jobs to their end.) We only mark those jobs as stalled without a lock; BullMQ's own first check, which a new
 *  consumer makes at its start, then moves them back to the waiting ones. */

import type { Redis } from 'ioredis';
import { isRunning } from '../../core/processes.ts';
import type { QueueName } from '../../core/queue-depth.ts';

/** KEYS: active list. ARGV: job key prefix. Returns the owners of its jobs. */
const OWNERS = `
local owners = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local owner = redis.call('HGET', ARGV[1] .. id, 'pb')
  if owner then owners[#owners + 1] = owner end
end
return owners`;

/** KEYS: active list, stalled set, stalled-check key. ARGV: job key prefix, owners. Returns how many were marked. */
const TAKE_BACK = `
local dead = {}
for i = 2, #ARGV do dead[ARGV[i]] = true end
local taken = 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local owner = redis.call('HGET', ARGV[1] .. id, 'pb')
  if owner and dead[owner] then
    redis.call('DEL', ARGV[1] .. id .. ':lock')
    redis.call('SADD', KEYS[2], id)
    taken = taken + 1
  end
end
if taken > 0 then redis.call('DEL', KEYS[3]) end
return taken`;

/** The `name` option of the consumers of this process, by which their jobs are known. */
export function consumerOf(place: string): string {
  return `${place}/${process.pid}`;
}

/** Whether the owner is a consumer of that place whose process is gone. Of another program with the same pid, jobs come back
 *  when their lock runs out. */
export function isGone(place: string): (owner: string) => boolean {
  return (owner) => {
    const pid = owner.startsWith(`${place}/`) ? Number(owner.slice(place.length + 1)) : Number.NaN;
    return pid === process.pid || (pid > 0 && !isRunning(pid));
  };
}

/** To be called before the consumer exists, once in a process for each queue.
 *  @param isDead by the name of the consumer that took a job. */
export async function takeBack(
  redis: Redis,
  { prefix, name }: QueueName,
  isDead: (owner: string) => boolean,
): Promise<void> {
  const key = `${prefix}:${name}`;
  const owners = new Set((await redis.eval(OWNERS, 1, `${key}:active`, `${key}:`)) as string[]);
  const dead = [...owners].filter(isDead);
  if (dead.length === 0) return;
  const keys = [`${key}:active`, `${key}:stalled`, `${key}:stalled-check`];
  await redis.eval(TAKE_BACK, keys.length, ...keys, `${key}:`, ...dead);
}
