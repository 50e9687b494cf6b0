/** Turns TypeScript sources into JavaScript when the image is built, so that a sandbox starts without a compiler. Types are
 *  replaced by blanks, which keeps every line and column; only a file that needs more (enum, namespace, parameter
 *  properties) is transformed, and carries its source map. Imports are left as written: with FN_TYPESCRIPT=1 the bootstrap
 *  resolves `./x.ts` to `./x.js`. Types are not checked, and tsconfig.json is not read. */

import { stripTypeScriptTypes } from 'node:module';
import { FnError } from '../core/errors.ts';

const COMPILED: Readonly<Record<string, string>> = { ts: 'js', mts: 'mjs', cts: 'cjs' };

/** Where the compiled file goes; undefined for what is not TypeScript, '' for a declaration file, which is dropped. */
export function compiledPath(path: string): string | undefined {
  if (/\.d\.([mc]?ts|[^/.]+\.ts)$/.test(path)) return '';
  const match = /^(.+)\.([mc]?ts)$/.exec(path);
  return match?.[1] && match[2] ? `${match[1]}.${COMPILED[match[2]]}` : undefined;
}

/** @throws FnError build.failed with file and line */
export function compile(path: string, source: string): string {
  try {
    return stripTypeScriptTypes(source, { mode: 'strip' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') throw syntaxError(path, error);
  }
  try {
    return stripTypeScriptTypes(source, { mode: 'transform', sourceMap: true, sourceUrl: path });
  } catch (error) {
    throw syntaxError(path, error);
  }
}

/** Node puts the place and the line of source before the stack: `<file>:<line>`, the line, a caret. */
function syntaxError(path: string, error: unknown): FnError {
  const { message, stack = '' } = error as Error;
  const [place = '', , source = '', caret = ''] = stack.split('\n');
  const line = /:(\d+)$/.exec(place)?.[1];
  const shown = caret.trim().startsWith('^') ? `\n${source}\n${caret}` : '';
  return new FnError('build.failed', `${path}${line === undefined ? '' : `:${line}`}: ${message}${shown}`, {
    cause: error,
    hint: 'Fix the syntax error and deploy again.',
  });
}
