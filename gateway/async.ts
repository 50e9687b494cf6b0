/** POST /async/<name>[/rest]: the invocation becomes a job, and 202 says that it is in Redis and its append-only file. Never a
 *  false yes: with Redis away, or slow, the answer is 503, and a command that was not sent is never sent later (core/redis.ts
 *  failFast). */

import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { splitCallee } from '../core/aliases.ts';
import type { Config } from '../core/config.ts';
import { FnError, toFnError } from '../core/errors.ts';
import { type FunctionName, newInvocationId } from '../core/ids.ts';
import {
  ASYNC_ACTIVE_SET,
  ASYNC_ATTEMPTS,
  ASYNC_CHANNEL,
  type AsyncJob,
  asyncQueue,
  openQueue,
} from '../core/queues.ts';
import type { Millis } from '../core/units.ts';
import { fieldRecord } from './http/fields.ts';
import { jsonReply, type PlainReply } from './http/write.ts';
import type { PageRequest } from './page.ts';

/** Queues kept open. One is a few objects on a shared connection; opening it again costs a round trip. */
const QUEUES_MAX = 256;
const REDIS_WITHIN: Millis = 2500;

/** The async queues of functions, opened as they are needed, on one connection. */
export class AsyncQueues implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #queues = new Map<FunctionName, Queue<AsyncJob>>();

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Runs an operation on Redis within a time; 503 when Redis is away or slow. */
  async run<T>(operation: (redis: Redis) => Promise<T>): Promise<T> {
    if (this.#redis.status !== 'ready') throw new FnError('redis.unavailable', 'Redis is away', { retryAfterS: 1 });
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`no answer within ${REDIS_WITHIN} ms`)), REDIS_WITHIN);
    try {
      return await Promise.race([operation(this.#redis), late]);
    } catch (cause) {
      const known = toFnError(cause);
      if (known.code === 'storage.full') throw known;
      throw new FnError('redis.unavailable', 'Redis did not answer', { cause, retryAfterS: 1 });
    } finally {
      clearTimeout(timer);
    }
  }

  get(name: FunctionName): Queue<AsyncJob> {
    const queue = this.#queues.get(name) ?? openQueue<AsyncJob>(asyncQueue(name), this.#redis);
    this.#queues.delete(name); // Back in at the end: the oldest is first.
    this.#queues.set(name, queue);
    if (this.#queues.size > QUEUES_MAX) this.drop(this.#queues.keys().next().value!);
    return queue;
  }

  drop(name: FunctionName): void {
    void this.#queues
      .get(name)
      ?.close()
      .catch(() => {}); // It only forgets its listeners; the connection is ours.
    this.#queues.delete(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#queues.keys()) this.drop(name);
  }
}

/** Headers that mean nothing to a call made later by someone else. */
const NOT_KEPT: ReadonlySet<string> = new Set(['host', 'expect', 'accept-encoding', 'idempotency-key']);

/** @param callee a function's name, or with an alias or a revision's number.
 *  @param rest path and query after it, at least "/". */
export async function submit(
  queues: AsyncQueues,
  config: Pick<Config, 'resultTtl'>,
  callee: string,
  rest: string,
  request: PageRequest,
): Promise<PlainReply> {
  const { name, qualifier } = splitCallee(callee);
  const headers = Object.fromEntries(
    Object.entries(fieldRecord(request.head.fields)).filter(([field]) => !NOT_KEPT.has(field)),
  );
  const text = request.body.toString('utf8');
  const isText = Buffer.byteLength(text) === request.body.length && !text.includes('\uFFFD');
  const job: AsyncJob = {
    method: request.method,
    path: rest,
    ...(qualifier !== undefined && { qualifier }),
    headers: { ...headers, 'x-request-id': request.requestId },
    ...(request.body.length > 0 && { body: isText ? text : request.body.toString('base64') }),
    ...(request.body.length > 0 && !isText && { base64: true }),
  };
  const id = newInvocationId(name);
  const age = Math.ceil(config.resultTtl / 1000);
  await queues.run(async (redis) => {
    // The name first: a consumer that looks at an empty queue loses nothing, one that never looks loses the job.
    await redis.sadd(ASYNC_ACTIVE_SET, name);
    await queues.get(name).add('invoke', job, {
      jobId: id,
      attempts: ASYNC_ATTEMPTS,
      backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
      removeOnComplete: { age },
      removeOnFail: { age },
    });
    await redis.publish(ASYNC_CHANNEL, name);
  });
  const status = `/invocations/${id}`;
  return jsonReply(202, { id, status }, { location: status });
}
