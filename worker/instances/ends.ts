/** Names how an instance ended, from what the host saw, and says it in the catalogue's words. */

import { FnError, type FnErrorOptions, unreachable } from '../../core/errors.ts';
import type { EndReason } from '../../core/records.ts';
import type { FunctionSpec } from '../../core/spec.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import type { SandboxEnd } from '../sandbox/sandbox.ts';

export function classifyEnd(end: SandboxEnd): EndReason {
  if (end.oomKills > 0) return 'oom';
  // V8 gives up by itself at its heap limit, before the cgroup has to.
  const aborted = end.signal === 'SIGABRT' || end.signal === 'SIGTRAP' || end.signal === 'SIGILL';
  if (aborted && end.outOfMemory) return 'oom';
  if (end.signal !== undefined) return 'signal';
  if (end.exitCode !== undefined) return 'exit';
  return 'lost';
}

/** It belongs into the function's log: nobody wanted it, and the function itself has no word for it. */
export function isTold(reason: EndReason): boolean {
  return ['oom', 'timeout', 'exit', 'signal', 'lost'].includes(reason);
}

/** The error for whoever waited for a reply of this instance. */
export function endProblem(
  reason: EndReason,
  end: SandboxEnd,
  { memory, timeout }: Pick<FunctionSpec, 'memory' | 'timeout'>,
  logs: readonly string[],
): FnError {
  const options: FnErrorOptions = { logs };
  switch (reason) {
    case 'oom':
      return new FnError(
        'function.oom',
        `the instance reached its memory limit of ${formatBytes(memory)} and was ended`,
        options,
      );
    case 'timeout':
      return new FnError(
        'function.timeout',
        `no reply within ${formatDuration(timeout)}; the instance was ended`,
        options,
      );
    case 'exit':
      return new FnError('function.crashed', `the process exited with code ${end.exitCode}`, options);
    case 'signal':
      return new FnError('function.killed', `the process was ended by ${end.signal}`, options);
    case 'load-error':
      return new FnError('function.load_failed', 'the function failed to load', options);
    case 'start-timeout':
      return new FnError('function.start_timeout', 'the function was not ready in time', options);
    case 'lost':
      return new FnError('function.crashed', 'the process is gone; nobody saw how it ended', options);
    case 'scaled-down':
    case 'used':
    case 'replaced':
    case 'removed':
    case 'shutdown':
      return new FnError('process.down', `the instance was stopped: ${reason}`, options);
    default:
      return unreachable(reason);
  }
}
