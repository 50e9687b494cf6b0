/** Connections to Redis, and the refusal of one that would lose accepted jobs. Two kinds of connection: `failFast` for
 *  whoever promises something to a caller (a command is refused at once while Redis is away, and is never sent later
 *  behind the caller's back), `patient` for consumers, which wait and reconnect for as long as it takes. */

import { Redis, type RedisOptions } from 'ioredis';
import { FnError } from './errors.ts';
import { sleep } from './clock.ts';
import type { Config } from './config.ts';
import type { Millis } from './units.ts';

export function redisOptions(config: Config, kind: 'failFast' | 'patient'): RedisOptions {
  const where: RedisOptions = config.redisUrl ? parseUrl(config.redisUrl) : { path: config.paths.redisSocket };
  return {
    ...where,
    // BullMQ's consumers block in BZPOPMIN and demand null; a producer must not hang (a command sent later is a lie). Above 0
    // ioredis sends what the old connection had not answered again over the next one, even after its timeout was reported.
    maxRetriesPerRequest: kind === 'patient' ? null : 0,
    enableOfflineQueue: kind === 'patient',
    ...(kind === 'failFast' && { commandTimeout: 2000 }),
    retryStrategy: (attempt) => Math.min(50 * attempt, 1000),
  };
}

function parseUrl(url: string): RedisOptions {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'unix:') return { path: parsed.pathname };
  if (!parsed || !['redis:', 'rediss:'].includes(parsed.protocol)) {
    throw new FnError('usage.invalid', 'REDIS_URL must be redis://, rediss:// or unix://');
  }
  return {
    host: parsed.hostname,
    port: Number(parsed.port || 6379),
    ...(parsed.username && { username: decodeURIComponent(parsed.username) }),
    ...(parsed.password && { password: decodeURIComponent(parsed.password) }),
    ...(parsed.pathname.length > 1 && { db: Number(parsed.pathname.slice(1)) }),
    ...(parsed.protocol === 'rediss:' && { tls: {} }),
  };
}

/** A connection. Its errors are not logged here: commands reject, and `fn status` shows the state. */
export function connectRedis(config: Config, kind: 'failFast' | 'patient'): Redis {
  const redis = new Redis(redisOptions(config, kind));
  redis.on('error', () => {}); // Without a listener ioredis prints a stack trace for every attempt to reconnect.
  return redis;
}

/** Waits until Redis answers, at most `timeout`. */
export async function waitForRedis(redis: Redis, timeout: Millis, signal?: AbortSignal): Promise<void> {
  const end = performance.now() + timeout;
  // A command that is refused while there is no connection does not say why there is none.
  let lost: unknown;
  const onError = (error: unknown): void => {
    lost = error;
  };
  redis.on('error', onError);
  try {
    await answered(redis, end, signal);
  } catch (cause) {
    const { path, host, port } = redis.options;
    throw new FnError('redis.unavailable', `Redis at ${path ?? `${host}:${port}`} did not answer in time`, {
      cause: lost ?? cause,
      ...(path === undefined && { hint: 'Start it, or correct REDIS_URL.' }),
    });
  } finally {
    redis.off('error', onError);
  }
}

/** @param end when to give up, on the clock of `performance`. */
async function answered(redis: Redis, end: Millis, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    try {
      await redis.ping();
      return;
    } catch (cause) {
      if (performance.now() > end) throw cause;
      await sleep(20, signal);
    }
  }
}

/** Refuses a Redis that forgets on restart or evicts under pressure: both lose jobs that were answered 202. */
export async function checkRedisIsSafe(redis: Redis): Promise<void> {
  const info = await redis.info();
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const version = field('redis_version') ?? '0';
  if (Number.parseFloat(version) < 6.2) {
    throw new FnError('redis.unsafe', `Redis ${version} is too old`, { hint: 'Use Redis 6.2 or newer, or Valkey.' });
  }
  if (field('aof_enabled') !== '1') throw new FnError('redis.unsafe', 'Redis runs without append-only persistence');
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') throw new FnError('redis.unsafe', `Redis evicts keys under pressure (${policy})`);
}
