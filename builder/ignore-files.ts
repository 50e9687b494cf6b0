/** Which files of a directory belong to the function. `.gitignore` and `.fnignore` count, in every directory for what lies
 *  below it, with git's rules; `.fnignore` is read second, so that `!dist` brings back what git ignores. Dependencies are
 *  never taken along: they are installed from the lock file. */

import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { FnError } from '../core/errors.ts';
import type { Bytes } from '../core/units.ts';

const IGNORE_FILES = ['.gitignore', '.fnignore'];
const ALWAYS = new Set(['node_modules', '.git', ...IGNORE_FILES]);
/** Without it nothing could be deployed, whatever an ignore file says. */
const NEVER = new Set(['fn.yaml']);

const FILE_LIMIT: Bytes = 1 << 20;

/** A `skip` for listFiles. */
export function ignoring(root: string): (path: string, isDirectory: boolean) => Promise<boolean> {
  const rules = new Map<string, Promise<Ignore | undefined>>();
  const rulesOf = (directory: string): Promise<Ignore | undefined> => {
    let known = rules.get(directory);
    if (!known) rules.set(directory, (known = readRules(join(root, directory))));
    return known;
  };
  return async (path, isDirectory) => {
    const parts = path.split('/');
    if (ALWAYS.has(parts.at(-1) ?? '')) return true;
    if (NEVER.has(path)) return false;
    // The nearest file that says anything decides. Directories above were not skipped, or we would not be asked.
    for (let depth = parts.length - 1; depth >= 0; depth--) {
      const found = await rulesOf(parts.slice(0, depth).join('/'));
      const verdict = found?.test(`${parts.slice(depth).join('/')}${isDirectory ? '/' : ''}`);
      if (verdict?.ignored) return true;
      if (verdict?.unignored) return false;
    }
    return false;
  };
}

async function readRules(directory: string): Promise<Ignore | undefined> {
  const texts = await Promise.all(IGNORE_FILES.map((name) => readIfFile(join(directory, name))));
  if (texts.every((text) => text === '')) return undefined;
  return ignore({ ignorecase: false }).add(texts.join('\n'));
}

/** A link is not followed: it may lead outside. */
async function readIfFile(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isFile()) return '';
  if (found.size > FILE_LIMIT) throw new FnError('package.invalid', `${path} is larger than ${FILE_LIMIT} bytes`);
  return readFile(path, 'utf8');
}
