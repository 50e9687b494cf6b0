/** Deploys one directory: checks it here where that is quick, packs it, sends it, and tells what the platform tells. Used by
 *  `fn deploy` and by the examples of `fn server`. */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { packDirectory } from '../builder/package.ts';
import type { DeployEvent } from '../controller/deploy.ts';
import { FnError } from '../core/errors.ts';
import type { Api } from './api.ts';

export type DeployDone = Extract<DeployEvent, { event: 'done' }>;
export type DeployStep = Extract<DeployEvent, { event: 'step' }>;

/** @throws FnError whatever made the deploy fail; nothing of the function's traffic has changed then. */
export async function deployDirectory(
  api: Api,
  directory: string,
  onStep: (step: DeployStep) => void,
  signal: AbortSignal,
): Promise<DeployDone> {
  const began = performance.now();
  await requireSpec(directory);
  const body = await packDirectory(directory);
  onStep({ event: 'step', step: 'pack', text: directory, ms: Math.round(performance.now() - began) });
  const call = { method: 'POST', headers: { 'content-type': 'application/gzip' }, body, signal };
  for await (const event of api.lines<DeployEvent>('/v1/deployments', call)) {
    if (event.event === 'done') return event;
    onStep(event);
  }
  throw new FnError('process.down', 'the control API went away before the deploy ended', {
    hint: 'It goes on without us: "fn ls" shows how it ended. Deploying again is safe.',
  });
}

/** The builder reads fn.yaml; what it needs not be asked about is whether there is one. */
async function requireSpec(directory: string): Promise<void> {
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new FnError('usage.invalid', `${directory} is ${found ? 'not a directory' : 'not there'}`, {
      hint: 'Name the directory of a function: "fn deploy <dir>".',
    });
  }
  try {
    await readFile(join(directory, 'fn.yaml'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new FnError('spec.missing', `${directory} has no fn.yaml`);
  }
}
