/** Which of two deploys of a function is the later one. Each draws a number when it begins; a build takes its own time, and
 *  the one that began later keeps its place whichever is built first. */

import type { Redis } from 'ioredis';
import type { FunctionName } from '../core/ids.ts';

const COUNTER = 'fn:deploy:counter';
const LATEST = 'fn:deploy:latest';

/** Notes that a deploy of the function got through, unless one that began later already did.
 *  KEYS: hash. ARGV: function, ticket. Returns 1 when noted. */
const CLAIM = `
local latest = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if latest > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1`;

export function drawTicket(redis: Redis): Promise<number> {
  return redis.incr(COUNTER);
}

/** False when a deploy that began later has already got through. */
export async function claimTicket(redis: Redis, name: FunctionName, ticket: number): Promise<boolean> {
  return (await redis.eval(CLAIM, 1, LATEST, name, String(ticket))) === 1;
}

export async function forgetTicket(redis: Redis, name: FunctionName): Promise<void> {
  await redis.hdel(LATEST, name);
}
