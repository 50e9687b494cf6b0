/** Who is acted on next: the queue in Redis that drives reconciliation. A job says which function there is something to do
 *  about and nothing else, so a missed, doubled or late one does no harm. A function is acted on by one controller at a time:
 *  BullMQ's deduplication keeps at most one job active and one waiting for each name, and any number of controllers may share
 *  the queue. */

import { type Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { sleep } from '../core/clock.ts';
import type { FunctionName } from '../core/ids.ts';
import { openQueue, OWN_PREFIX, RECONCILE_QUEUE, type ReconcileJob } from '../core/queues.ts';
import { connectRedis } from '../core/redis.ts';
import type { ServiceContext } from '../core/service.ts';
import type { Millis } from '../core/units.ts';

const CONCURRENCY = 10;
/** A killed controller's job is taken over after this and one check: acting takes milliseconds, and a doubled act is safe. */
const LOCK: Millis = 5000;
const STALLED_CHECK: Millis = 2500;
const CLOSED_WITHIN: Millis = 5000;

export class ActQueue implements AsyncDisposable {
  readonly #queue: Queue<ReconcileJob>;
  readonly #patient: Redis;
  readonly #worker: Worker<ReconcileJob>;

  /** @param act an act that throws is over; a later look finds again what is to be done. */
  constructor({ config, redis, log }: ServiceContext, act: (name: FunctionName) => Promise<void>) {
    this.#queue = openQueue<ReconcileJob>(RECONCILE_QUEUE, redis);
    this.#patient = connectRedis(config, 'patient');
    this.#worker = new Worker<ReconcileJob>(RECONCILE_QUEUE, ({ data }) => act(data.function), {
      prefix: OWN_PREFIX,
      connection: this.#patient,
      concurrency: CONCURRENCY,
      lockDuration: LOCK,
      stalledInterval: STALLED_CHECK,
      maxStalledCount: 1000, // An act that a crash cut short is never held against the function.
      runRetryDelay: 1000,
    });
    this.#worker.on('error', (error) => log.debug({ err: error }, 'reconcile queue'));
  }

  /** Rejects when Redis is away: nothing can be done then, and the next resync finds it again. */
  async add(name: FunctionName): Promise<void> {
    const deduplication = { id: name, keepLastIfActive: true };
    await this.#queue.add(name, { function: name }, { deduplication, removeOnComplete: true, removeOnFail: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.race([this.#worker.close(), sleep(CLOSED_WITHIN)]);
    await this.#queue.close();
    this.#patient.disconnect();
  }
}
