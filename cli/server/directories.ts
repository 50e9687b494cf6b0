/** Makes FN_HOME. Processes in sandboxes have uids of their own and reach their code by paths below it, so they may pass
 *  through some directories, list none, and see nothing of the others. */

import { chmod, chown, mkdir } from 'node:fs/promises';
import type { Config } from '../../core/config.ts';

export async function prepareHome(config: Config): Promise<void> {
  const { home, run, redis, images, uploads, layers, tasks, sandboxes, logs, cache } = config.paths;
  for (const directory of [home, layers, tasks, sandboxes]) await make(directory, 0o711);
  for (const directory of [redis, images, uploads, logs, cache]) await make(directory, 0o700);
  await make(run, 0o750);
  await chown(run, process.getuid?.() ?? 0, config.gatewayUid);
}

async function make(directory: string, mode: number): Promise<void> {
  await mkdir(directory, { recursive: true, mode });
  await chmod(directory, mode); // An older one, or a strict umask.
}
