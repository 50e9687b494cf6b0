/** The code layer: the function's own files below /task, TypeScript compiled. Left out are fn.yaml, which configures the
 *  platform and not the code (so a change of a limit is no new image), and .npmrc, which may hold a token. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FnError } from '../core/errors.ts';
import type { Bytes } from '../core/units.ts';
import { entryOf, type ListedFile } from './files.ts';
import type { LayerEntry } from './oci/layer.ts';
import type { FunctionPackage } from './package.ts';
import { compile, compiledPath } from './typescript.ts';

/** The compiler works in one go and holds up everything else meanwhile. */
const SOURCE_LIMIT: Bytes = 4 * 2 ** 20;

export interface Code {
  readonly entries: readonly LayerEntry[];
  /** Imports may name .ts files that are .js files now. */
  readonly typescript: boolean;
}

/** @throws FnError build.failed with file and line */
export async function codeOf({ directory, files }: FunctionPackage): Promise<Code> {
  const names = new Set(files.map(({ path }) => path));
  const entries: LayerEntry[] = [];
  let typescript = false;
  for (const file of files) {
    if (file.path === 'fn.yaml' || /(^|\/)\.npmrc$/.test(file.path)) continue;
    const path = compiledPath(file.path);
    if (path === undefined) {
      entries.push(entryOf(directory, file, `task/${file.path}`));
    } else if (path !== '') {
      if (names.has(path)) {
        throw new FnError('build.failed', `${file.path} becomes ${path}, but there is a ${path} already`, {
          hint: 'Remove one of the two, or name it in .fnignore.',
        });
      }
      entries.push(await compiledEntry(directory, file, `task/${path}`));
      typescript = true;
    }
  }
  return { entries, typescript };
}

async function compiledEntry(directory: string, file: ListedFile, path: string): Promise<LayerEntry> {
  if (file.type === 'symlink') return { type: 'symlink', path, target: compiledPath(file.target) || file.target };
  if (file.size > SOURCE_LIMIT) {
    throw new FnError(
      'build.failed',
      `${file.path} is larger than ${SOURCE_LIMIT / 2 ** 20} MiB, too large to compile`,
    );
  }
  const source = await readFile(join(directory, file.path), 'utf8');
  return { type: 'file', path, executable: file.executable, content: Buffer.from(compile(file.path, source)) };
}
