/** How much work lies in BullMQ queues, read for many queues in one round trip and without opening any of them. The keys are
 *  BullMQ's own layout (prefix:queue:state), the same in every version since 4. */

import type { Redis } from 'ioredis';
import type { Millis } from './units.ts';

export interface QueueName {
  readonly prefix: string;
  readonly name: string;
}

export interface QueueDepth {
  /** Ready to be taken, with or without a priority. */
  readonly waiting: number;
  /** Taken by a consumer. */
  readonly active: number;
  readonly delayed: number;
  /** Unix ms at which the first delayed job is due. */
  readonly nextDelayedAt?: Millis;
}

/** Depths in the order of `queues`. Rejects when Redis is away. */
export async function queueDepths(redis: Redis, queues: readonly QueueName[]): Promise<QueueDepth[]> {
  if (queues.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const { prefix, name } of queues) {
    const key = `${prefix}:${name}`;
    pipeline
      .llen(`${key}:wait`)
      .zcard(`${key}:prioritized`)
      .llen(`${key}:active`)
      .zcard(`${key}:delayed`)
      .call('ZRANGE', `${key}:delayed`, '0', '0', 'WITHSCORES');
  }
  const replies = (await pipeline.exec()) ?? [];
  const values = replies.map(([error, value]) => {
    if (error) throw error;
    return value;
  });
  return queues.map((_, index) => {
    const [wait, prioritized, active, delayed, first] = values.slice(index * 5, index * 5 + 5);
    const score = scoreOf(first);
    return {
      waiting: Number(wait) + Number(prioritized),
      active: Number(active),
      delayed: Number(delayed),
      ...(score !== undefined && { nextDelayedAt: Math.floor(score / 0x1000) }), // The low 12 bits keep order.
    };
  });
}

/** `[member, score]`, or `[[member, score]]` where the connection speaks RESP3. */
function scoreOf(reply: unknown): number | undefined {
  const flat = Array.isArray(reply) ? reply.flat() : [];
  return flat.length < 2 ? undefined : Number(flat[1]);
}
