/** Waits for an asynchronous invocation: asks the gateway, ever less often, until it has ended. */

import { sleep } from '../core/clock.ts';
import type { InvocationStatus } from '../core/control.ts';
import { fromProblem } from '../core/errors.ts';
import { problemOf } from './api.ts';

/** @throws FnError why it failed, once its attempts are used up. */
export async function waitForInvocation(
  gatewayUrl: string,
  id: string,
  signal: AbortSignal,
): Promise<InvocationStatus> {
  for (let wait = 10; ; wait = Math.min(1000, wait * 1.5)) {
    const response = await fetch(`${gatewayUrl}/invocations/${id}`, { signal });
    if (!response.ok) throw await problemOf(response);
    const status = (await response.json()) as InvocationStatus;
    if (status.state === 'failed') throw fromProblem(status.error) ?? new Error('the invocation failed');
    if (status.state === 'completed') return status;
    await sleep(wait, signal);
  }
}
