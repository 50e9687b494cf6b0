/** Makes FN_HOME. Processes in sandboxes have uids of their own and reach their code by paths below it, so they may pass
 *  through some directories, list none, and see nothing of the others. */

import { chmod, chown, mkdir } from 'node:fs/promises';
import type { Config } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';

/** Whoever is not root can only make what is theirs alone. */
export async function prepareHome(config: Config): Promise<void> {
  const { home, run, redis, images, uploads, layers, tasks, sandboxes, logs, cache } = config.paths;
  for (const directory of [home, layers, tasks, sandboxes]) await makeDirectory(directory, 0o711);
  for (const directory of [redis, images, uploads, logs, cache]) await makeDirectory(directory, 0o700);
  await makeDirectory(run, 0o750);
  if (process.getuid?.() === 0) await chown(run, 0, config.gatewayUid);
}

/** @throws FnError usage.invalid, storage.full */
async function makeDirectory(directory: string, mode: number): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode });
    await chmod(directory, mode); // An older one, or a strict umask.
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOSPC') {
      throw new FnError('storage.full', `there is no room for ${directory}`, { cause });
    }
    throw new FnError('usage.invalid', `FN_HOME: ${directory} cannot be made a directory`, {
      hint: 'Set FN_HOME to a directory that this user may write to.',
      cause,
    });
  }
}
