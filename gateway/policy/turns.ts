/** Counts how often callers call. In Redis, so that a limit is one limit however many gateways there are; only functions with
 *  a limit pay the round trip.
 *
 *  While Redis is away each gateway counts by itself: warm functions keep answering without Redis, and a limit that turned
 *  into an outage would be the worse failure. The limit then holds per gateway, so that n gateways let through up to n times
 *  as much, until Redis is back. The callers counted are bounded; beyond that the longest known is forgotten. */

import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { Clock } from '../../core/clock.ts';
import type { Micros, Millis } from '../../core/units.ts';

const SCRIPT = readFileSync(new URL('take-turn.lua', import.meta.url), 'utf8');
const KEY_PREFIX = 'fn:rate:';
/** Longer than Redis ever takes when it is well, short enough to wait for before a request. */
const REDIS_WITHIN: Millis = 250;
/** After a failure Redis is left alone for so long: not every request should wait to find out. */
const REDIS_REST: Millis = 1000;
const LOCAL_MAX = 10_000;

export interface Rate {
  /** Time for one turn in the long run, µs. */
  readonly interval: Micros;
  /** Turns at once after a pause. */
  readonly burst: number;
}

export interface Turn {
  readonly granted: boolean;
  /** Turns that are left right now. */
  readonly left: number;
  /** Until the next turn is granted; 0 when this one was. */
  readonly waitMs: Millis;
  /** Until all turns are back. */
  readonly fullMs: Millis;
}

export class Turns {
  readonly #redis: Redis | undefined;
  readonly #clock: Clock;
  /** For each caller the time at which its turns are used up, µs of the monotonic clock. */
  readonly #local = new Map<string, Micros>();
  #loaded: string | undefined;
  #restUntil: Millis = 0;

  constructor(redis: Redis | undefined, clock: Clock) {
    this.#redis = redis;
    this.#clock = clock;
  }

  /** @param caller whose turn it is, and of what. */
  async take(caller: string, rate: Rate): Promise<Turn> {
    const redis = this.#redis;
    if (redis?.status !== 'ready' || this.#clock.monotonic() < this.#restUntil) return this.#takeLocally(caller, rate);
    try {
      const [granted = 0, left = 0, wait = 0, full = 0] = await within(REDIS_WITHIN, this.#run(redis, caller, rate));
      return { granted: granted === 1, left, waitMs: wait / 1000, fullMs: full / 1000 };
    } catch {
      // It is away or slow: limits are kept, if less exactly.
      this.#restUntil = this.#clock.monotonic() + REDIS_REST;
      return this.#takeLocally(caller, rate);
    }
  }

  async #run(redis: Redis, caller: string, { interval, burst }: Rate): Promise<number[]> {
    const args = [KEY_PREFIX + caller, String(interval), String(burst)] as const;
    try {
      this.#loaded ??= String(await redis.script('LOAD', SCRIPT));
      return (await redis.evalsha(this.#loaded, 1, ...args)) as number[];
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return (await redis.eval(SCRIPT, 1, ...args)) as number[]; // Redis was started anew; this loads it too.
    }
  }

  /** The same arithmetic as in take-turn.lua. */
  #takeLocally(caller: string, { interval, burst }: Rate): Turn {
    const now = this.#clock.monotonic() * 1000;
    const room = interval * burst;
    const usedUp = Math.max(this.#local.get(caller) ?? 0, now);
    const ahead = usedUp + interval - now;
    if (ahead > room) return { granted: false, left: 0, waitMs: (ahead - room) / 1000, fullMs: (usedUp - now) / 1000 };
    this.#local.delete(caller); // Back in at the end: the oldest is first.
    this.#local.set(caller, usedUp + interval);
    if (this.#local.size > LOCAL_MAX) this.#local.delete(this.#local.keys().next().value!);
    return { granted: true, left: Math.floor((room - ahead) / interval), waitMs: 0, fullMs: ahead / 1000 };
  }
}

async function within<T>(ms: Millis, answer: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
