/** GET /invocations/<id>: where an asynchronous invocation is, and its result once there is one. The id names the function,
 *  so the job is found without an index. */

import type { Job } from 'bullmq';
import type { InvocationStatus } from '../core/control.ts';
import { FnError, fromProblem, type Problem } from '../core/errors.ts';
import { type FunctionName, type InvocationId, parseInvocationId } from '../core/ids.ts';
import { type AsyncResult, jobIdOf } from '../core/queues.ts';
import type { AsyncQueues } from './async.ts';

export async function invocationStatus(queues: AsyncQueues, text: string): Promise<InvocationStatus> {
  const parsed = parseInvocationId(text);
  if (!parsed) throw new FnError('invocation.not_found', 'this is not the id of an invocation');
  const found = await queues.run(async () => {
    const queue = queues.get(parsed.function);
    const id = jobIdOf(parsed.id);
    // The state first: a job that is read after it ended has its result, whatever happens in between.
    const state = await queue.getJobState(id);
    const job = await queue.getJob(id);
    return job && { job, state };
  });
  if (!found) throw new FnError('invocation.not_found', `there is no invocation ${parsed.id}`);
  return describe(parsed.id, parsed.function, found.job as Job<unknown, AsyncResult>, found.state);
}

function describe(
  id: InvocationId,
  name: FunctionName,
  job: Job<unknown, AsyncResult>,
  jobState: string,
): InvocationStatus {
  const state = stateOf(jobState);
  return {
    id,
    function: name,
    state,
    attempts: job.attemptsMade,
    createdAt: job.timestamp,
    ...((state === 'completed' || state === 'failed') && job.finishedOn && { finishedAt: job.finishedOn }),
    ...(state === 'completed' && job.returnvalue && { result: job.returnvalue }),
    ...(state === 'failed' && { error: problemOf(job.failedReason) }),
  };
}

function stateOf(state: string): InvocationStatus['state'] {
  switch (state) {
    case 'active':
    case 'completed':
    case 'failed':
    case 'delayed':
      return state;
    default: // waiting, prioritized, waiting-children, paused
      return 'waiting';
  }
}

/** The job consumer keeps the problem as the reason; a plain text is an error outside the catalogue. */
function problemOf(reason: string): Problem {
  try {
    const known = fromProblem(JSON.parse(reason));
    if (known) return known.toProblem();
  } catch {
    // Not JSON: BullMQ's own text, such as a stalled job's.
  }
  return new FnError('internal', reason).toProblem();
}
