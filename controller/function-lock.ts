/** One controller at a time acts on a function. Each action may be doubled without harm; the lock keeps two controllers from
 *  acting on two opinions at once. It is taken to act and not to look, since most looks find nothing to do. A killed
 *  controller's runs out. */

import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { FunctionName } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';

/** What is done takes milliseconds. */
const RUNS_OUT_AFTER: Millis = 5000;

/** Deletes the lock if it still is this holder's. KEYS: the lock. ARGV: the holder. */
const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

/** Undefined while another has it. */
export async function takeLock(redis: Redis, name: FunctionName): Promise<AsyncDisposable | undefined> {
  const key = `fn:acting:${name}`;
  const holder = randomUUID();
  if ((await redis.set(key, holder, 'PX', RUNS_OUT_AFTER, 'NX')) !== 'OK') return undefined;
  return {
    async [Symbol.asyncDispose]() {
      await redis.eval(RELEASE, 1, key, holder).catch(() => 0); // Redis is away: it runs out.
    },
  };
}
