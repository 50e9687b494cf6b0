/** The FnError an action throws or rejects with, for looking at its code, hint and detail. */

import { FnError } from '../../core/errors.ts';

export function thrownBy(action: () => unknown): FnError {
  try {
    action();
  } catch (error) {
    if (error instanceof FnError) return error;
    throw error;
  }
  throw new Error('expected an FnError, but nothing was thrown');
}

export async function rejectionOf(promise: Promise<unknown>): Promise<FnError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  return thrownBy(() => {
    if (outcome) throw outcome.error;
  });
}
