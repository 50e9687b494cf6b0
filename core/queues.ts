/** The queues: their names, what a job in them holds, and how producers and consumers connect. Our own live under the
 *  prefix `fn`; a function's queue trigger consumes a queue under BullMQ's default prefix `bull`, so any program that
 *  uses BullMQ can fill it. */

import { Queue, type QueueOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Digest, FunctionName, InstanceId, InvocationId, NodeId, RevisionId } from './ids.ts';
import type { EndReason } from './records.ts';
import type { FunctionSpec } from './spec.ts';
import type { Bytes } from './units.ts';

export const OWN_PREFIX = 'fn';
export const USER_PREFIX = 'bull';

/** One job per function name at a time; level-triggered: it says whom to act on, not what happened. */
export const RECONCILE_QUEUE = 'reconcile';
export interface ReconcileJob {
  readonly function: FunctionName;
}

export const BUILD_QUEUE = 'build';
export interface BuildJob {
  /** sha256 of the uploaded tar.gz in FN_HOME/uploads. */
  readonly upload: string;
}
/** A failed build's `failedReason` is its Problem as JSON; so it is for every queue of ours. */
export interface BuildResult {
  readonly image: Digest;
  readonly spec: FunctionSpec;
  readonly layers: readonly {
    readonly kind: string;
    readonly digest: string;
    readonly size: Bytes;
    readonly cached: boolean;
  }[];
}
/** Progress of a build, as BullMQ job progress: what `fn deploy` prints. */
export interface BuildProgress {
  readonly step: string;
  readonly text: string;
}

/** Start and stop, for one node's worker. Idempotent: `ensure` names a count, `stop` an instance. */
export const nodeQueue = (node: NodeId): string => `node-${node}`;
export type NodeJob =
  | { readonly type: 'ensure'; readonly function: FunctionName; readonly revision: RevisionId; readonly count: number }
  | {
      readonly type: 'stop';
      readonly instance: InstanceId;
      /** `if-idle` leaves a busy instance alone (scale-down); `drain` waits for its work. */
      readonly mode: 'if-idle' | 'drain';
      readonly reason: EndReason;
    };

/** Asynchronous invocations of one function: POST /async/<name>, and cron. */
export const asyncQueue = (name: FunctionName): string => `async-${name}`;
export interface AsyncJob {
  readonly method: string;
  /** Path and query after /async/<name>, at least "/". */
  readonly path: string;
  /** An alias or a revision's number. */
  readonly qualifier?: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Text, or base64 when `base64`. */
  readonly body?: string;
  readonly base64?: boolean;
}
/** Kept as the job's return value. */
export interface AsyncResult {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly base64?: boolean;
}

/** The id of an invocation's job. Most are the same; BullMQ gives those that a schedule made one of its own, which a header
 *  or a path could not hold as it is: `repeat:<schedule>:<time>` for `<function>.<schedule>-<time>`. */
export function jobIdOf(id: InvocationId): string {
  const [, schedule, time] = /\.(cron-[0-9a-f]+)-(\d+)$/.exec(id) ?? [];
  return schedule === undefined ? id : `repeat:${schedule}:${time}`;
}

/** Functions whose async queue may hold jobs: consumers look here, and listen on the channel, so that no queue needs a
 *  connection while it is empty. A producer adds the name before the job: an empty queue is looked at for nothing, a full
 *  one is never missed. */
export const ASYNC_ACTIVE_SET = 'fn:async:active';
export const ASYNC_CHANNEL = 'fn:async';

export const ASYNC_ATTEMPTS = 5;

/** A queue to add to. `connection` should be a fail-fast one (core/redis.ts), shared by all queues of a process. */
export function openQueue<Data, Result = unknown>(
  name: string,
  connection: Redis,
  options: Partial<QueueOptions> = {},
) {
  const queue = new Queue<Data, Result>(name, { prefix: OWN_PREFIX, connection, ...options });
  queue.on('error', () => {}); // Each command rejects by itself.
  return queue;
}

/** Volatile facts in Redis that are not records: heartbeats and loads. */
export const LOAD_HASH = 'fn:load';
export const PROCESS_HASH = 'fn:processes';
/** Each node's BeginningsReport, while it has any. */
export const BEGINNINGS_HASH = 'fn:beginnings';
/** How many instances the controller wants of each function. */
export const DESIRED_HASH = 'fn:desired';
export const decisionsKey = (name: FunctionName): string => `fn:decisions:${name}`;

/** A process says it lives, once a second; older than 5 s means it does not. */
export interface ProcessReport {
  readonly role: 'gateway' | 'worker' | 'controller' | 'builder';
  readonly id: string;
  readonly pid: number;
  readonly at: number;
  readonly startedAt: number;
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Prometheus text, of roles that answer nobody: those whose metrics are few. */
  readonly metrics?: string;
}
