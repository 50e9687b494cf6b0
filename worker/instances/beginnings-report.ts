/** Tells the controller of starts that have no record yet. Without it, a burst that waits for its turn in the line of starts
 *  looks as if nobody had started anything, and each function is asked for again every second. */

import type { Redis } from 'ioredis';
import type { NodeId } from '../../core/ids.ts';
import { BEGINNINGS_HASH } from '../../core/queues.ts';
import type { BeginningsReport } from '../../core/records.ts';
import type { Millis } from '../../core/units.ts';
import type { Beginnings } from './beginnings.ts';

/** The controller reads once a second. */
const REPORT_EVERY: Millis = 200;

/** Withdraws the report when disposed. */
export function reportBeginnings(redis: Redis, node: NodeId, beginnings: Beginnings): AsyncDisposable {
  let isTold = true; // By a worker that was killed.
  const withdraw = async (): Promise<void> => void (await redis.hdel(BEGINNINGS_HASH, node));
  const tell = async (): Promise<void> => {
    if (beginnings.total > 0) {
      const report: BeginningsReport = { at: Date.now(), revisions: Object.fromEntries(beginnings.counts) };
      isTold = true;
      await redis.hset(BEGINNINGS_HASH, node, JSON.stringify(report));
    } else if (isTold) {
      await withdraw();
      isTold = false;
    }
  };
  const timer = setInterval(() => void tell().catch(() => {}), REPORT_EVERY); // Redis is away: the report grows old.
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await withdraw().catch(() => 0);
    },
  };
}
