/** Takes jobs from one BullMQ queue and has each answered by a function. BullMQ keeps the lock, the attempts and the waits;
 *  the verdict on an attempt comes from settle.ts. Delivery is at least once: a job whose worker died is started again, and
 *  its `x-fn-attempt`, which grows with every start, tells the starts apart.
 *
 *  - Attempts, waits and (in our own queues) how long results are kept are ours, also for a job whose producer set none:
 *    BullMQ reads them from the job object in memory when an attempt ends, so they are put there before it starts and the
 *    job's record stays as its producer made it.
 *  - A start that never reached the function is moved to the delayed jobs, which costs no attempt.
 *  - A lock that could not be renewed aborts the request, and the settling of a job without its lock is refused by Redis.
 *  - Jobs this node's dead worker held are taken back at once (take-back.ts), those of another node when their lock runs out. */

import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { sleep } from '../../core/clock.ts';
import { type Problem, unreachable } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Tracer } from '../../core/tracer.ts';
import type { Millis } from '../../core/units.ts';
import type { Deliverer, Delivery } from './deliver.ts';
import { type Attempt, type Reply, settle } from './settle.ts';
import { consumerOf, isGone, takeBack } from './take-back.ts';
import { traceJob } from './trace-job.ts';

/** A worker that cannot renew its locks for so long has lost its jobs. */
const LOCK: Millis = 30_000;
/** How soon a lost lock is noticed. */
const RENEW_EVERY: Millis = 5000;
const STALLED_CHECK: Millis = 15_000;
/** A job that its worker did not survive so often is kept as failed. Function code runs elsewhere: this is for the freak. */
const MAX_STALLED = 25;
const CLOSE_WITHIN: Millis = 5000;

/** A queue, and how its jobs become requests. */
export interface Source {
  readonly prefix: string;
  readonly queue: string;
  readonly concurrency: number;
  readonly attempts: (job: Job<unknown>) => number;
  readonly retry: Attempt['retry'];
  /** Finished jobs kept; undefined leaves it to the producer. */
  readonly keep?: { readonly ageS: number; readonly count: number };
  readonly request: (job: Job<unknown>) => Delivery;
  /** What becomes the job's return value. */
  readonly result: (reply: Reply) => unknown;
}

export interface ConsumerDeps {
  /** Patient, shared by all consumers of the process. */
  readonly redis: Redis;
  readonly deliverer: Deliverer;
  /** Where spans go; absent when nobody wants them. */
  readonly tracer: Tracer | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Names this node's consumers in the jobs they took. */
  readonly place: string;
  /** Jobs that still run when a consumer ends do so to their end, or go back to the queue when this aborts. */
  readonly giveUp: AbortSignal;
  /** Queues this process has opened before: a job of ours that is active there may be running here. */
  readonly opened: Set<string>;
}

export class Consumer implements AsyncDisposable {
  readonly #source: Source;
  readonly #deps: ConsumerDeps;
  readonly #worker: Worker<unknown>;
  #ending = false;
  #running = 0;
  #lastActive: Millis = performance.now();

  private constructor(source: Source, deps: ConsumerDeps) {
    this.#source = source;
    this.#deps = deps;
    this.#worker = new Worker<unknown>(source.queue, (job, token, signal) => this.#process(job, token, signal), {
      prefix: source.prefix,
      connection: deps.redis,
      name: consumerOf(deps.place),
      concurrency: source.concurrency,
      lockDuration: LOCK,
      lockRenewTime: RENEW_EVERY,
      stalledInterval: STALLED_CHECK,
      maxStalledCount: MAX_STALLED,
      runRetryDelay: 1000,
      settings: { backoffStrategy: (_attempts, _type, error) => (error instanceof RetryError ? error.after : 1000) },
    });
    this.#worker.on('error', (error) => deps.log.debug({ queue: source.queue, err: error }, 'job queue'));
    this.#worker.on('lockRenewalFailed', (ids) => {
      for (const id of ids) this.#worker.cancelJob(id, 'the lock was lost');
    });
  }

  static async open(source: Source, deps: ConsumerDeps): Promise<Consumer> {
    const key = `${source.prefix}:${source.queue}`;
    if (!deps.opened.has(key)) {
      await takeBack(deps.redis, { prefix: source.prefix, name: source.queue }, isGone(deps.place));
      deps.opened.add(key);
    }
    return new Consumer(source, deps);
  }

  /** Since when no job has run, ms; 0 while one runs. */
  idleFor(now: Millis): Millis {
    return this.#running > 0 ? 0 : now - this.#lastActive;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#worker.close();
    await Promise.race([closed, aborted(this.#deps.giveUp)]);
    this.#ending = true;
    this.#worker.cancelAllJobs('the worker is ending');
    await Promise.race([closed, sleep(CLOSE_WITHIN)]); // Redis may be away; the locks then run out.
  }

  async #process(job: Job<unknown>, token: string | undefined, signal: AbortSignal | undefined): Promise<unknown> {
    this.#running++;
    try {
      return await this.#attempt(job, token, signal ?? new AbortController().signal);
    } finally {
      this.#running--;
      this.#lastActive = performance.now();
    }
  }

  async #attempt(job: Job<unknown>, token: string | undefined, signal: AbortSignal): Promise<unknown> {
    const { source, outcomes } = { source: this.#source, outcomes: this.#deps.metrics.counter('fn_jobs_total') };
    const attempts = source.attempts(job);
    job.opts.attempts = attempts;
    job.opts.backoff = { type: 'fn' };
    if (source.keep)
      job.opts.removeOnComplete = job.opts.removeOnFail = { age: source.keep.ageS, count: source.keep.count };

    const traced = traceJob(this.#deps.tracer, source.queue, job, source.request(job));
    const { delivery } = traced;
    let delivered;
    try {
      delivered = await this.#deps.deliverer.deliver(delivery, signal);
    } catch (error) {
      if (this.#ending) return await putBack(job, 0, token);
      throw error; // The lock is lost: whoever has it settles the job, and we cannot.
    }
    const now = Date.now();
    const verdict = settle(
      delivered,
      {
        failed: job.attemptsMade,
        putOff: Math.max(0, job.attemptsStarted - job.attemptsMade - job.stalledCounter - 1),
        age: now - job.timestamp - (job.opts.delay ?? 0),
        retry: source.retry,
      },
      now,
    );
    traced.end(verdict);
    switch (verdict.type) {
      case 'done':
        outcomes.inc({ outcome: 'completed' });
        return source.result(verdict.reply);
      case 'later':
        return await putBack(job, verdict.after, token);
      case 'dead':
        outcomes.inc({ outcome: 'failed' });
        throw withoutStack(new UnrecoverableError(JSON.stringify(verdict.problem)));
      case 'retry':
        outcomes.inc({ outcome: job.attemptsMade + 1 < attempts ? 'retried' : 'failed' });
        throw withoutStack(new RetryError(verdict.problem, verdict.after));
      default:
        return unreachable(verdict);
    }
  }
}

/** Back among the delayed jobs, as if it had not been started. */
async function putBack(job: Job<unknown>, after: Millis, token: string | undefined): Promise<never> {
  await job.moveToDelayed(Date.now() + after, token);
  throw new DelayedError();
}

/** The job's `failedReason` becomes the problem as JSON. */
class RetryError extends Error {
  override readonly name = 'RetryError';
  readonly after: Millis;

  constructor(problem: Problem, after: Millis) {
    super(JSON.stringify(problem));
    this.after = after;
  }
}

/** BullMQ keeps stacks with the job; ours would only say where in this file it was thrown. */
function withoutStack<E extends Error>(error: E): E {
  delete error.stack;
  return error;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
