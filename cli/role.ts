/** Runs one process of the platform. Under `fn server` a failed start is told to the supervisor as a problem, so that it
 *  can be shown as one instead of as a dead process. */

import { loadConfig } from '../core/config.ts';
import { toFnError } from '../core/errors.ts';
import { type Role, runService, type Service, type ServiceContext } from '../core/service.ts';
import { fail } from './failure.ts';
import type { RoleMessage } from './server/messages.ts';

/** Ends this process with the service: whatever was left open would keep it alive. */
export async function runRole(role: Role, start: (context: ServiceContext) => Promise<Service>): Promise<never> {
  try {
    await runService(role, loadConfig(), start);
    return process.exit();
  } catch (error) {
    if (!process.connected) return process.exit(fail(error, { json: false }));
    const message: RoleMessage = { failed: toFnError(error).toProblem({ component: role }) };
    await new Promise((sent) => process.send?.(message, sent));
    return process.exit(1);
  }
}
