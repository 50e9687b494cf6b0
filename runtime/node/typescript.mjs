/** Lets compiled TypeScript keep its specifiers: `./other.ts` finds other.js when there is no other.ts, and `./other`
 *  finds other.js. Only for functions that were TypeScript; others get node's rules unchanged. */

import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';

const COMPILED = /** @type {Record<string, string>} */ ({ '.ts': '.js', '.mts': '.mjs', '.cts': '.cjs' });

export function resolveTypeScript() {
  registerHooks({
    resolve(specifier, context, next) {
      if (!/^\.{0,2}\//.test(specifier) || context.parentURL?.includes('/node_modules/')) {
        return next(specifier, context);
      }
      const parent = context.parentURL ?? 'file:///';
      const url = new URL(specifier, parent);
      const compiled = compiledName(url);
      return next(compiled ?? specifier, context);
    },
  });
}

/** @param {URL} url @returns {string | undefined} */
function compiledName(url) {
  if (existsSync(url) && !url.pathname.endsWith('/')) {
    const found = suffixOf(url.pathname);
    if (found !== '') return undefined;
  }
  const suffix = suffixOf(url.pathname);
  const compiled = COMPILED[suffix];
  const candidates =
    compiled === undefined
      ? ['.js', '.mjs', '.cjs', '/index.js'].map((end) => url.href + end)
      : [url.href.slice(0, -suffix.length) + compiled];
  return candidates.find((candidate) => existsSync(new URL(candidate)));
}

/** @param {string} path */
function suffixOf(path) {
  return /\.[cm]?[jt]sx?$|\.json$|\.node$|\.wasm$/.exec(path)?.[0] ?? '';
}
