/** Carries out what the planner decided. Each action is idempotent and checks again, at the moment of writing, that what it
 *  was decided on still holds; when it does not, it does nothing and the next look decides anew. */

import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { aliasShares } from '../core/aliases.ts';
import type { Config } from '../core/config.ts';
import { FnError, fromProblem, type Problem, unreachable } from '../core/errors.ts';
import type { FunctionName, InstanceId, NodeId, RevisionId } from '../core/ids.ts';
import { readLogs } from '../core/logs.ts';
import { nodeQueue, type NodeJob, openQueue } from '../core/queues.ts';
import { type Store, update } from '../core/store/store.ts';
import type { Millis } from '../core/units.ts';
import { finishDeletion } from './deletion.ts';
import type { Action } from './plan.ts';

/** A problem carries so many of the function's last log lines. */
const LOG_LINES = 20;
/** A refused start of a candidate is looked up within seconds. */
const FAILED_START_KEPT_S = 600;

export interface ActionDeps {
  readonly config: Config;
  readonly redis: Redis;
  readonly store: Store;
}

export class Actions implements AsyncDisposable {
  readonly #deps: ActionDeps;
  readonly #queues = new Map<NodeId, Queue<NodeJob>>();

  constructor(deps: ActionDeps) {
    this.#deps = deps;
  }

  async act(name: FunctionName, action: Action, now: Millis): Promise<void> {
    const { store } = this.#deps;
    switch (action.type) {
      case 'ensure':
        // One at a time of a revision: while it waits or runs, another one adds nothing, and a later look asks again.
        await this.#queue(action.node).add(
          'ensure',
          { type: 'ensure', function: name, revision: action.revision, count: action.count },
          { deduplication: { id: `ensure-${action.revision}` }, removeOnComplete: true, removeOnFail: true },
        );
        return;
      case 'try':
        // Its id is fixed and a failed one is kept: the worker's refusal is the candidate's verdict.
        await this.#queue(action.node).add(
          'ensure',
          { type: 'ensure', function: name, revision: action.revision, count: 1 },
          {
            jobId: tryId(action.revision, action.since),
            removeOnComplete: true,
            removeOnFail: { age: FAILED_START_KEPT_S, count: 1000 },
          },
        );
        return;
      case 'stop':
        await this.#queue(action.node).add(
          'stop',
          { type: 'stop', instance: action.instance, mode: action.mode, reason: action.reason },
          { deduplication: { id: `stop-${action.instance}` }, removeOnComplete: true, removeOnFail: true },
        );
        return;
      case 'promote':
        await update(store, 'function', name, (fn) => {
          if (fn?.candidate?.revision !== action.revision) return undefined;
          const { candidate: _, failed: __, ...rest } = fn;
          return { ...rest, traffic: [{ revision: action.revision, weight: 100 }], updatedAt: now };
        });
        return;
      case 'fail': {
        const problem = await this.#withLogs(name, action.problem, action.instance);
        await update(store, 'function', name, (fn) => {
          if (fn?.candidate?.revision !== action.revision) return undefined;
          const { candidate: _, ...rest } = fn;
          return { ...rest, failed: { revision: action.revision, at: now, problem }, updatedAt: now };
        });
        return;
      }
      case 'lost':
        await update(store, 'instance', action.instance, (instance) =>
          instance && !instance.end ? { ...instance, state: 'failed', end: { at: now, reason: 'lost' } } : undefined,
        );
        return;
      case 'forget':
        await store.delete('instance', action.instance);
        return;
      case 'forget-revision': {
        const fn = (await store.get('function', name))?.value;
        if (fn && aliasShares(fn).some(({ revision }) => revision === action.revision)) return;
        await store.delete('revision', action.revision);
        return;
      }
      case 'finish-deletion':
        await finishDeletion(this.#deps, name);
        return;
      default:
        unreachable(action);
    }
  }

  /** Why a worker refused to start the candidate, if one did. */
  async startFailure(nodes: readonly NodeId[], revision: RevisionId, since: Millis): Promise<Problem | undefined> {
    for (const node of nodes) {
      const job = await this.#queue(node).getJob(tryId(revision, since));
      if (!job?.failedReason) continue;
      const problem = parseProblem(job.failedReason);
      if (problem.code !== 'function.not_found') return problem;
      await job.remove(); // The node had not heard of the revision yet. The next look tries again.
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#queues.values()].map((queue) => queue.close()));
  }

  #queue(node: NodeId): Queue<NodeJob> {
    let queue = this.#queues.get(node);
    if (!queue) this.#queues.set(node, (queue = openQueue<NodeJob>(nodeQueue(node), this.#deps.redis)));
    return queue;
  }

  async #withLogs(name: FunctionName, problem: Problem, instance: InstanceId | undefined): Promise<Problem> {
    if (problem.logs || instance === undefined) return problem;
    const lines: string[] = [];
    const query = { instance, tail: LOG_LINES };
    for await (const line of readLogs(this.#deps.config.paths.logs, name, query)) lines.push(line.text);
    return lines.length > 0 ? { ...problem, logs: lines } : problem;
  }
}

const tryId = (revision: RevisionId, since: Millis): string => `try-${revision}-${since}`;

/** The problem in a failed job's reason; our queues keep it there as JSON. */
export function parseProblem(failedReason: string): Problem {
  try {
    const error = fromProblem(JSON.parse(failedReason));
    if (error) return error.toProblem();
  } catch {
    // Not JSON: BullMQ's own words, such as "job stalled more than allowable limit".
  }
  return new FnError('internal', failedReason).toProblem();
}
