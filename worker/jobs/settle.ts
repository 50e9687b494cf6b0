/** How an attempt ends for its job, as one pure table. An answer settles the job; a failure is tried again with growing
 *  waits until the attempts are used up; and what never reached the function (the gateway is restarting, all instances are
 *  busy) costs no attempt, only time, until the job is too old.
 *
 *  2xx                       done
 *  3xx, 4xx                  dead: it would be answered the same again
 *  408, 425, 429, 5xx        again, not before Retry-After
 *  no or half an answer      again
 *  not reached the function  later, without an attempt */

import { backoff } from '../../core/clock.ts';
import { type ErrorCode, ERRORS, FnError, fromProblem, type Problem, unreachable } from '../../core/errors.ts';
import { HEADERS } from '../../core/control.ts';
import type { Millis } from '../../core/units.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** What came of one HTTP request to the gateway. */
export type Outcome =
  | { readonly kind: 'reply'; readonly reply: Reply }
  /** The connection was refused: not a byte was sent. */
  | { readonly kind: 'unreachable' }
  | { readonly kind: 'failed'; readonly problem: Problem };

export interface Attempt {
  /** Attempts that reached the function and failed, before this one. */
  readonly failed: number;
  /** Times the job was put off without an attempt. */
  readonly putOff: number;
  /** Since the job was due. */
  readonly age: Millis;
  readonly retry: { readonly backoff: 'exponential' | 'fixed'; readonly delay: Millis };
}

export type Verdict =
  | { readonly type: 'done'; readonly reply: Reply }
  | { readonly type: 'dead'; readonly problem: Problem }
  /** Try again, if attempts are left. */
  | { readonly type: 'retry'; readonly after: Millis; readonly problem: Problem }
  | { readonly type: 'later'; readonly after: Millis };

const RETRIED: readonly number[] = [408, 425, 429];
/** Answers of the platform that say the function has not been asked. */
const NOT_REACHED: readonly ErrorCode[] = [
  'capacity.max_reached',
  'capacity.node_full',
  'capacity.queue_full',
  'process.down',
];
const LATER_BASE: Millis = 500;
const LATER_MAX: Millis = 30_000;
const RETRY_MAX: Millis = 3_600_000;
/** A job that could not even be delivered for so long is given up. */
export const MAX_AGE: Millis = 6 * 3_600_000;
/** So much of an error's body is kept with the job. */
const EXCERPT = 1024;

export function settle(outcome: Outcome, attempt: Attempt, now: Millis, random: () => number = Math.random): Verdict {
  switch (outcome.kind) {
    case 'unreachable':
      return putOff(new FnError('process.down', 'the gateway is not there').toProblem(), 0, attempt, random);
    case 'failed':
      return { type: 'retry', after: wait(attempt, 0, random), problem: outcome.problem };
    case 'reply':
      return settleReply(outcome.reply, attempt, now, random);
    default:
      return unreachable(outcome);
  }
}

function settleReply(reply: Reply, attempt: Attempt, now: Millis, random: () => number): Verdict {
  const { status } = reply;
  if (status >= 200 && status < 300) return { type: 'done', reply };
  const ours = reply.headers[HEADERS.error] === undefined ? undefined : platformProblem(reply);
  const problem = ours ?? answered(reply);
  const notBefore = retryAfter(reply.headers['retry-after'], now);
  if (ours && NOT_REACHED.includes(ours.code)) return putOff(problem, notBefore, attempt, random);
  if (status < 500 && !RETRIED.includes(status)) return { type: 'dead', problem };
  return { type: 'retry', after: wait(attempt, notBefore, random), problem };
}

function putOff(problem: Problem, notBefore: Millis, attempt: Attempt, random: () => number): Verdict {
  if (attempt.age > MAX_AGE) return { type: 'dead', problem };
  return { type: 'later', after: Math.max(notBefore, backoff(attempt.putOff, LATER_BASE, LATER_MAX, random)) };
}

function wait({ failed, retry }: Attempt, notBefore: Millis, random: () => number): Millis {
  const own = retry.backoff === 'fixed' ? retry.delay : backoff(failed, retry.delay, RETRY_MAX, random);
  return Math.max(1, own, notBefore);
}

/** Retry-After in ms: seconds or an HTTP date (RFC 9110, 10.2.3). 0 when there is none; an hour at most. */
function retryAfter(header: string | undefined, now: Millis): Millis {
  if (header === undefined) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), RETRY_MAX) : 0;
}

function platformProblem({ body }: Reply): Problem | undefined {
  try {
    return fromProblem(JSON.parse(body.toString('utf8')))?.toProblem();
  } catch {
    return undefined;
  }
}

function answered({ status, headers, body }: Reply): Problem {
  const code: ErrorCode = 'function.error';
  const excerpt = body.subarray(0, EXCERPT).toString('utf8');
  const type = headers['content-type'];
  return new FnError(code, `the function answered ${status}`, {
    hint: ERRORS[code].hint,
    data: { status, ...(type !== undefined && { contentType: type }), ...(excerpt !== '' && { body: excerpt }) },
  }).toProblem();
}
