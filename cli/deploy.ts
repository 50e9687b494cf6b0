/** Deploys one directory: packs it, sends it, and tells what the platform tells. Used by
 *  `fn deploy` and by the examples of `fn server`. */

import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { packDirectory } from '../builder/pack.ts';
import type { DeployEvent } from '../controller/deploy.ts';
import { FnError, toFnError } from '../core/errors.ts';
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
  await requireDirectory(directory);
  const packed = await packDirectory(directory);
  const body = Readable.toWeb(packed) as ReadableStream;
  onStep({ event: 'step', step: 'pack', text: directory, ms: Math.round(performance.now() - began) });
  const call = { method: 'POST', headers: { 'content-type': 'application/gzip' }, body, signal };
  try {
    for await (const event of api.lines<DeployEvent>('/v1/deployments', call)) {
      if (event.event === 'done') return event;
      onStep(event);
    }
  } catch (error) {
    throw packed.errored ? unreadable(packed.errored) : error;
  }
  throw new FnError('process.down', 'the control API went away before the deploy ended', {
    hint: 'It goes on without us: "fn ls" shows how it ended. Deploying again is safe.',
  });
}

/** A file that cannot be read breaks the upload off, which the API's connection would blame on the API. */
function unreadable(error: Error): FnError {
  const { path, code } = error as NodeJS.ErrnoException;
  if (error instanceof FnError || path === undefined) return toFnError(error);
  return new FnError('package.invalid', `${path} cannot be read (${code})`, {
    hint: 'Make it readable, or name it in .fnignore.',
    cause: error,
  });
}

async function requireDirectory(directory: string): Promise<void> {
  const found = await stat(directory).catch(() => undefined);
  if (found?.isDirectory()) return;
  throw new FnError('usage.invalid', `${directory} is ${found ? 'not a directory' : 'not there'}`, {
    hint: 'Name the directory of a function: "fn deploy <dir>".',
  });
}
