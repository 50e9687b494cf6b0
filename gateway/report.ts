/** Tells the controller of the gateway's load, about once a second and behind the work. */

import type { Redis } from 'ioredis';
import { LOAD_HASH } from '../core/queues.ts';
import type { LoadReport } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

const REPORT_EVERY: Millis = 1000;

/** Withdraws the report when disposed. */
export function reportLoad(redis: Redis | undefined, id: string, report: () => Promise<LoadReport>): AsyncDisposable {
  const tell = async (): Promise<void> => {
    const text = JSON.stringify(await report());
    await redis?.hset(LOAD_HASH, id, text);
  };
  const timer = setInterval(() => void tell().catch(() => {}), REPORT_EVERY).unref(); // Redis is away: the next one.
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await redis?.hdel(LOAD_HASH, id).catch(() => 0); // Redis is away: the report grows old by itself.
    },
  };
}
