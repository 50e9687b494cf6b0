/** The records of finished invocations, one Redis stream per function, the newest thousand or so. The gateway writes them
 *  behind the work, many at a time; the API reads them. */

import type { Redis } from 'ioredis';
import type { Account } from './account.ts';
import type { FunctionName } from './ids.ts';
import type { Millis } from './units.ts';

export interface InvocationRecord extends Account {
  /** The request id, or the id of the asynchronous invocation. */
  readonly id: string;
  readonly at: Millis;
  readonly revision: string;
  readonly instance?: string;
  readonly method: string;
  readonly status: number;
  /** The error code, where the platform answered. */
  readonly code?: string;
}

/** Kept of each function. */
const KEPT = 1000;
/** Written at once; what does not fit into a second is counted by the metrics only. */
const BATCH_MAX = 500;
const streamOf = (name: FunctionName): string => `fn:invocations:${name}`;

export class InvocationWriter {
  readonly #redis: Redis;
  #pending: { readonly name: FunctionName; readonly record: InvocationRecord }[] = [];

  /** @param redis fail-fast. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** False: a record would be dropped, and need not be made. */
  get hasRoom(): boolean {
    return this.#pending.length < BATCH_MAX;
  }

  add(name: FunctionName, record: InvocationRecord): void {
    if (this.hasRoom) this.#pending.push({ name, record });
  }

  /** Call it about once a second. Nothing waits for it, and what Redis does not take is let go. */
  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const batch = this.#pending;
    this.#pending = [];
    const pipeline = this.#redis.pipeline();
    for (const { name, record } of batch) {
      pipeline.xadd(streamOf(name), 'MAXLEN', '~', KEPT, '*', 'record', JSON.stringify(record));
    }
    await pipeline.exec();
  }
}

/** The newest first. */
export async function readInvocations(redis: Redis, name: FunctionName, count: number): Promise<InvocationRecord[]> {
  const entries = await redis.xrevrange(streamOf(name), '+', '-', 'COUNT', count);
  return entries.map(([, fields]) => JSON.parse(fields[1] ?? '{}') as InvocationRecord);
}

export async function removeInvocations(redis: Redis, name: FunctionName): Promise<void> {
  await redis.del(streamOf(name));
}
