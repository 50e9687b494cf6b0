/** Consumers of the functions' own queues, open only while there is something to do: ten thousand functions need no ten
 *  thousand connections. A producer adds the function to ASYNC_ACTIVE_SET, then the job, and publishes the name; we open a
 *  consumer on the message, look at the set every five seconds for messages that were missed, and at all functions every
 *  minute for a set that was wrong. After a minute without a job the consumer closes; the name leaves the set only when
 *  the queue is empty in the same step, and the consumer stays one look longer for a producer that was just between the
 *  two. A queue that holds only jobs for later (retries, cron) gets its consumer back shortly before the first is due. */

import type { Redis } from 'ioredis';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import type { FunctionName } from '../../core/ids.ts';
import { queueDepths } from '../../core/queue-depth.ts';
import { ASYNC_ACTIVE_SET, ASYNC_CHANNEL, asyncQueue, OWN_PREFIX } from '../../core/queues.ts';
import { connectRedis } from '../../core/redis.ts';
import type { Millis } from '../../core/units.ts';
import { Consumer, type ConsumerDeps } from './consumer.ts';
import type { LiveFunctions } from './functions.ts';
import { asyncSource } from './sources.ts';

export interface AsyncLimits {
  /** Consumers open at once; each takes a connection to Redis. */
  readonly open: number;
  readonly lookEvery: Millis;
  readonly lookAtAllEvery: Millis;
  readonly closeAfter: Millis;
}

const LIMITS: AsyncLimits = { open: 200, lookEvery: 5000, lookAtAllEvery: 60_000, closeAfter: 60_000 };

/** Takes a function out of the set if its queue is empty. KEYS: set, wait, active, prioritized, delayed. ARGV: function.
 *  Returns 1 when the queue is empty. */
const RETIRE = `
if redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[3]) + redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[5]) > 0 then
  return 0
end
redis.call('SREM', KEYS[1], ARGV[1])
return 1`;

interface Entry {
  readonly consumer: Promise<Consumer>;
  readonly openedAt: Millis;
  /** The queue was empty at the last look, and the function is no longer in the set. */
  retired: boolean;
}

export class AsyncConsumers implements AsyncDisposable {
  readonly #config: Config;
  readonly #redis: Redis;
  readonly #functions: LiveFunctions;
  readonly #deps: ConsumerDeps;
  readonly #limits: AsyncLimits;
  /** A delayed job due within this time needs its consumer now. */
  readonly #dueWithin: Millis;
  readonly #subscriber: Redis;
  readonly #open = new Map<FunctionName, Entry>();
  readonly #closing = new Set<Promise<void>>();
  readonly #ending = new AbortController();
  readonly #looking: Promise<void>;
  #wake = Promise.withResolvers<void>();

  /** @param redis fail-fast, for the looks. */
  constructor(config: Config, redis: Redis, functions: LiveFunctions, deps: ConsumerDeps, limits = LIMITS) {
    this.#limits = limits;
    this.#dueWithin = 2 * limits.lookEvery;
    this.#config = config;
    this.#redis = redis;
    this.#functions = functions;
    this.#deps = deps;
    this.#subscriber = connectRedis(config, 'patient');
    this.#subscriber.on('message', (_channel: string, name: string) => this.#ensure(name as FunctionName));
    this.#subscriber.on('ready', () => this.#wake.resolve()); // What was published meanwhile is in the set.
    this.#subscriber.subscribe(ASYNC_CHANNEL).catch(() => {}); // Closed before it was connected.
    this.#looking = this.#look();
  }

  get size(): number {
    return this.#open.size;
  }

  /** Looks at once: a function appeared or changed. */
  look(): void {
    this.#wake.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#wake.resolve();
    this.#subscriber.disconnect();
    await this.#looking;
    for (const name of this.#open.keys()) this.#close(name);
    await Promise.all(this.#closing);
  }

  async #look(): Promise<void> {
    let allAt = 0;
    while (!this.#ending.signal.aborted) {
      this.#wake = Promise.withResolvers<void>();
      try {
        const now = performance.now();
        const all = now >= allAt;
        await this.#openDue(all);
        await this.#closeIdle(now);
        if (all) allAt = now + this.#limits.lookAtAllEvery;
      } catch (error) {
        this.#deps.log.debug({ err: error }, 'look at async queues'); // Redis is away; consumers reconnect by themselves.
      }
      await Promise.race([this.#wake.promise, sleep(this.#limits.lookEvery, this.#ending.signal).catch(() => {})]);
    }
  }

  async #openDue(all: boolean): Promise<void> {
    const listed = new Set((await this.#redis.smembers(ASYNC_ACTIVE_SET)) as FunctionName[]);
    const known = all ? this.#functions.specs().map((spec) => spec.name) : [];
    const names = [...new Set([...listed, ...known])].filter((name) => !this.#open.has(name));
    const depths = await queueDepths(
      this.#redis,
      names.map((name) => ({ prefix: OWN_PREFIX, name: asyncQueue(name) })),
    );
    const soon = Date.now() + this.#dueWithin;
    for (const [index, name] of names.entries()) {
      const depth = depths[index];
      if (!depth) continue;
      const { waiting, active, delayed, nextDelayedAt = Infinity } = depth;
      if (waiting + active + delayed === 0) {
        // A name nobody has a function for, or one whose producer is about to add: only the latter opens a consumer.
        if (listed.has(name) && !this.#functions.spec(name)) await this.#retire(name);
        continue;
      }
      if (!listed.has(name)) await this.#redis.sadd(ASYNC_ACTIVE_SET, name);
      if (waiting + active > 0 || nextDelayedAt <= soon) this.#ensure(name);
    }
  }

  async #closeIdle(now: Millis): Promise<void> {
    for (const [name, entry] of this.#open) {
      const consumer = await entry.consumer.catch(() => undefined);
      if (!consumer || !this.#functions.spec(name)) {
        this.#close(name);
        continue;
      }
      if (consumer.idleFor(now) < this.#limits.closeAfter || now - entry.openedAt < this.#limits.closeAfter) {
        entry.retired = false;
        continue;
      }
      const [depth] = await queueDepths(this.#redis, [{ prefix: OWN_PREFIX, name: asyncQueue(name) }]);
      if (!depth || depth.waiting + depth.active > 0) continue;
      if (depth.delayed > 0) {
        if ((depth.nextDelayedAt ?? 0) <= Date.now() + this.#dueWithin) continue;
        await this.#redis.sadd(ASYNC_ACTIVE_SET, name);
        this.#close(name);
      } else if (entry.retired) {
        this.#close(name);
      } else {
        entry.retired = await this.#retire(name);
      }
    }
  }

  async #retire(name: FunctionName): Promise<boolean> {
    const key = `${OWN_PREFIX}:${asyncQueue(name)}`;
    const keys = [ASYNC_ACTIVE_SET, `${key}:wait`, `${key}:active`, `${key}:prioritized`, `${key}:delayed`];
    return (await this.#redis.eval(RETIRE, keys.length, ...keys, name)) === 1;
  }

  #ensure(name: FunctionName): void {
    if (this.#ending.signal.aborted || this.#open.has(name) || !this.#functions.spec(name)) return;
    if (this.#open.size >= this.#limits.open && !this.#makeRoom()) {
      this.#deps.log.warn({ fn: name, limit: this.#limits.open }, 'too many async queues at once'); // A later look opens it.
      return;
    }
    const source = asyncSource(name, this.#config, () => this.#functions.spec(name));
    const consumer = Consumer.open(source, this.#deps);
    consumer.catch((error: unknown) => {
      this.#deps.log.warn({ fn: name, err: error }, 'async queue not opened');
      this.#open.delete(name);
    });
    this.#open.set(name, { consumer, openedAt: performance.now(), retired: false });
  }

  /** Closes the consumer that was opened first among those that were found empty. */
  #makeRoom(): boolean {
    const found = [...this.#open].find(([, entry]) => entry.retired);
    if (found) this.#close(found[0]);
    return found !== undefined;
  }

  #close(name: FunctionName): void {
    const entry = this.#open.get(name);
    this.#open.delete(name);
    if (!entry) return;
    const closed = entry.consumer
      .then(
        (consumer) => consumer[Symbol.asyncDispose](),
        () => undefined, // It never opened.
      )
      .finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }
}
