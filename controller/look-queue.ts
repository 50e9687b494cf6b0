/** Who is looked at next. A job says which function to look at and nothing else, so a missed, doubled or late one does no
 *  harm. A function is looked at by one controller at a time: BullMQ's deduplication keeps at most one job active and one
 *  waiting for each name, and any number of controllers may share the queue. */

import { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { sleep } from '../core/clock.ts';
import type { FunctionName } from '../core/ids.ts';
import { openQueue, OWN_PREFIX, RECONCILE_QUEUE, type ReconcileJob } from '../core/queues.ts';
import { connectRedis } from '../core/redis.ts';
import type { ServiceContext } from '../core/service.ts';
import type { Millis } from '../core/units.ts';

const CONCURRENCY = 10;
/** A killed controller's job is taken over after this and one check: a look takes milliseconds, and a doubled one is safe. */
const LOCK: Millis = 5000;
const STALLED_CHECK: Millis = 2500;
const CLOSED_WITHIN: Millis = 5000;

export class LookQueue implements AsyncDisposable {
  readonly #context: ServiceContext;
  readonly #queue;
  readonly #pending = new Set<FunctionName>();
  #patient: Redis | undefined;
  #worker: Worker<ReconcileJob> | undefined;
  #flushing: Promise<void> | undefined;
  #closing = false;

  constructor(context: ServiceContext) {
    this.#context = context;
    this.#queue = openQueue<ReconcileJob>(RECONCILE_QUEUE, context.redis);
  }

  /** Takes part in looking. A look that throws is over; a later one is the retry. */
  work(look: (name: FunctionName) => Promise<void>): void {
    this.#patient = connectRedis(this.#context.config, 'patient');
    this.#worker = new Worker<ReconcileJob>(RECONCILE_QUEUE, ({ data }) => look(data.function), {
      prefix: OWN_PREFIX,
      connection: this.#patient,
      concurrency: CONCURRENCY,
      lockDuration: LOCK,
      stalledInterval: STALLED_CHECK,
      maxStalledCount: 1000, // A look that a crash cut short is never held against the function.
      runRetryDelay: 1000,
    });
    this.#worker.on('error', (error) => this.#context.log.debug({ err: error }, 'reconcile queue'));
  }

  /** Has each looked at soon. */
  add(names: Iterable<FunctionName>): void {
    for (const name of names) this.#pending.add(name);
    this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await this.#flushing;
    await Promise.race([this.#worker?.close(), sleep(CLOSED_WITHIN)]);
    await this.#queue.close();
    this.#patient?.disconnect();
  }

  /** Adds a job for each pending name; names that come meanwhile go with the next batch. */
  async #flush(): Promise<void> {
    while (this.#pending.size > 0 && !this.#closing) {
      const names = [...this.#pending];
      this.#pending.clear();
      const jobs = names.map((name) => ({
        name,
        data: { function: name },
        opts: { deduplication: { id: name, keepLastIfActive: true }, removeOnComplete: true, removeOnFail: true },
      }));
      // Redis is away: nothing can be done now, and the next resync looks at everything.
      await this.#queue.addBulk(jobs).catch(() => undefined);
    }
  }
}
