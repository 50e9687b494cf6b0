/** What the controller decided and why, newest first, at most a hundred entries a function; and the count it wants, for
 *  `fn ls`. An entry is written when something is done or the wanted count changes, never for looking and finding all well. */

import type { Redis } from 'ioredis';
import type { FunctionName } from '../core/ids.ts';
import { decisionsKey, DESIRED_HASH } from '../core/queues.ts';
import type { DecisionRecord } from '../core/records.ts';

const KEPT = 100;

export async function writeDecision(redis: Redis, decision: DecisionRecord, desired: number): Promise<void> {
  const key = decisionsKey(decision.function);
  const replies = await redis
    .multi()
    .lpush(key, JSON.stringify(decision))
    .ltrim(key, 0, KEPT - 1)
    .hset(DESIRED_HASH, decision.function, desired)
    .exec();
  for (const [error] of replies ?? []) if (error) throw error;
}

export async function readDecisions(redis: Redis, name: FunctionName, limit = KEPT): Promise<DecisionRecord[]> {
  const texts = await redis.lrange(decisionsKey(name), 0, limit - 1);
  return texts.map((text) => JSON.parse(text) as DecisionRecord);
}

/** Wanted counts by function name. */
export async function readDesired(redis: Redis): Promise<Map<string, number>> {
  const all = await redis.hgetall(DESIRED_HASH);
  return new Map(Object.entries(all).map(([name, count]) => [name, Number(count)]));
}

export async function readDesiredOf(redis: Redis, name: FunctionName): Promise<number> {
  return Number((await redis.hget(DESIRED_HASH, name)) ?? 0);
}

export async function forgetDecisions(redis: Redis, name: FunctionName): Promise<void> {
  await redis.multi().del(decisionsKey(name)).hdel(DESIRED_HASH, name).exec();
}
