/** Takes back the jobs of a consumer that died. BullMQ waits for their locks to run out, half a minute and more, since it
 *  cannot know; a node's worker can: there is one of it at a time, so what its predecessor held is nobody's. We only mark
 *  those jobs as stalled without a lock; BullMQ's own first check, which a new consumer makes at its start, then moves them
 *  back to the waiting ones. */

import type { Redis } from 'ioredis';
import type { QueueName } from '../../core/queue-depth.ts';

/** KEYS: active list, stalled set, stalled-check key. ARGV: job key prefix, owner. Returns how many were marked. */
const TAKE_BACK = `
local taken = 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if redis.call('HGET', ARGV[1] .. id, 'pb') == ARGV[2] then
    redis.call('DEL', ARGV[1] .. id .. ':lock')
    redis.call('SADD', KEYS[2], id)
    taken = taken + 1
  end
end
if taken > 0 then redis.call('DEL', KEYS[3]) end
return taken`;

/** To be called before the consumer exists, once in a process for each queue.
 *  @param owner the `name` option of the consumers of this node. */
export async function takeBack(redis: Redis, { prefix, name }: QueueName, owner: string): Promise<void> {
  const key = `${prefix}:${name}`;
  const keys = [`${key}:active`, `${key}:stalled`, `${key}:stalled-check`];
  await redis.eval(TAKE_BACK, keys.length, ...keys, `${key}:`, owner);
}
