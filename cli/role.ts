/** Runs one process of the platform. Under `fn server` a failed start is told to the supervisor as a problem, so that it
 *  can be shown as one instead of as a dead process. */

import { type Config, loadConfig } from '../core/config.ts';
import { toFnError } from '../core/errors.ts';
import { type Role, runService, type Service, type ServiceContext } from '../core/service.ts';
import { fail } from './failure.ts';
import { prepareHome } from './server/directories.ts';
import { lockRole } from './server/lock.ts';
import type { RoleMessage } from './server/messages.ts';

/** What `fn server` does before it starts the processes. */
async function prepare(role: Role, config: Config): Promise<AsyncDisposable> {
  await prepareHome(config);
  return lockRole(config, role);
}

/** Ends this process with the service: whatever was left open would keep it alive. */
export async function runRole(role: Role, start: (context: ServiceContext) => Promise<Service>): Promise<never> {
  try {
    const config = loadConfig();
    await using _ = process.connected ? undefined : await prepare(role, config);
    await runService(role, config, start);
  } catch (error) {
    if (!process.connected) return process.exit(fail(error, { json: false }));
    const message: RoleMessage = { failed: toFnError(error).toProblem({ component: role }) };
    await new Promise((sent) => process.send?.(message, sent));
    return process.exit(1);
  }
  return process.exit();
}
