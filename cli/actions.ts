/** Verbs that take an action, such as `fn key create`: how they say that they were not understood. */

import { FnError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';

/** @param hint a command that works. */
export type Usage = (detail: string, hint: string) => FnError;

export function usageOf(verb: string): Usage {
  return (detail, hint) => new FnError('usage.invalid', `fn ${verb}: ${detail}`, { hint: `Usage: ${hint}` });
}

export function unknownAction(verb: string, action: string, actions: readonly string[]): FnError {
  const near = nearest(action, actions);
  const hint = near ? `fn ${verb} ${near}` : `fn help ${verb}`;
  return usageOf(verb)(`"${action}" is not one of ${actions.join(', ')}`, hint);
}
