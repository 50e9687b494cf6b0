/** How an invocation ended badly, in the catalogue's words and in those of its account. */

import type { Outcome } from '../core/account.ts';
import { type ErrorCode, FnError, fromProblem, toFnError } from '../core/errors.ts';
import type { EndReason } from '../core/records.ts';
import type { Autopsy } from './control.ts';
import { BadReply } from './http/parse-reply.ts';

/** nginx's code for a client that went before its reply. */
export const CANCELLED = 499;

const OUTCOMES: Partial<Record<ErrorCode, Outcome>> = {
  'function.timeout': 'timeout',
  'function.oom': 'oom',
  'function.crashed': 'exit',
  'function.killed': 'signal',
};

/** @param code of the error, where the platform answered. */
export function outcomeOf(status: number, code?: ErrorCode): Outcome {
  if (status === CANCELLED) return 'cancelled';
  return (code && OUTCOMES[code]) ?? (status < 500 ? 'ok' : 'error');
}

/** The error for a connection that broke, from what the worker saw. */
export function whyBroken(error: Error, seen: Autopsy): FnError {
  const known = seen.problem && fromProblem(seen.problem);
  if (known && seen.reason !== 'timeout') return known; // That deadline was another invocation's.
  if (error instanceof BadReply) return new FnError('function.bad_reply', `the reply is malformed: ${error.message}`);
  if (isBug(error)) return toFnError(error);
  if (seen.alive) return new FnError('function.bad_reply', 'it closed the connection before its reply was complete');
  const { code, detail } = seen.reason ? ENDINGS[seen.reason] : CRASHED;
  return new FnError(code, detail);
}

/** Errors of our own code, unlike those of the system, have no code. */
function isBug(error: Error): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

interface Ending {
  readonly code: ErrorCode;
  readonly detail: string;
}
const CRASHED: Ending = { code: 'function.crashed', detail: 'the instance exited before its reply was complete' };
const KILLED: Ending = { code: 'function.killed', detail: 'the instance was stopped before its reply was complete' };
const ENDINGS: Readonly<Record<EndReason, Ending>> = {
  exit: CRASHED,
  signal: KILLED,
  oom: { code: 'function.oom', detail: 'the instance was over its memory limit' },
  timeout: { code: 'function.killed', detail: 'the instance was stopped: another invocation passed its deadline' },
  'load-error': CRASHED,
  'start-timeout': CRASHED,
  'scaled-down': KILLED,
  used: KILLED,
  replaced: KILLED,
  removed: KILLED,
  shutdown: KILLED,
  lost: KILLED,
};
