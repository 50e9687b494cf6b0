/** How a failure looks: what happened, why, what to type next, and the function's last log lines where there are any.
 *  Never a stack trace: what is ours to fix is in the platform's log. */

import { ERRORS, FnError, type Problem, toFnError } from '../core/errors.ts';
import { dim, paint } from './output.ts';

export interface FailureOptions {
  readonly json: boolean;
  /** The verb that was typed, whose help is the best hint where an error has none of its own. */
  readonly verb?: string | undefined;
}

/** Prints the failure to standard error; returns the exit code. */
export function fail(error: unknown, { json, verb }: FailureOptions): number {
  const found = toFnError(error).toProblem();
  // What is wrong with the command is told by us or by the API, which does not know the verb.
  const wrong = found.code === 'usage.invalid' || found.code === 'request.invalid';
  const general = wrong && verb !== undefined && found.hint === ERRORS[found.code].hint;
  const problem = { ...found, ...(general && { hint: `See "fn help ${verb}".` }) };
  console.error(json ? JSON.stringify(problem) : describeProblem(problem, causeOf(error)));
  return problem.code === 'usage.invalid' ? 2 : 1;
}

export function describeProblem(problem: Problem, cause?: string): string {
  const lines = [`${paint('red', 'error:')} ${problem.title} ${dim(`(${problem.code})`)}`];
  for (const line of problem.detail.split('\n')) lines.push(`  ${line}`);
  if (cause !== undefined) lines.push(dim(`  cause: ${cause}`));
  if (problem.logs?.length)
    lines.push(dim('  last lines of its log:'), ...problem.logs.map((line) => dim(`  | ${line}`)));
  lines.push(`${paint('cyan', 'hint:')} ${problem.hint}`);
  return lines.join('\n');
}

function causeOf(error: unknown): string | undefined {
  const cause = error instanceof FnError ? error.cause : undefined;
  return cause instanceof Error ? cause.message : undefined;
}
