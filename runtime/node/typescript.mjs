/** Lets compiled TypeScript keep its specifiers: `./other.ts` finds other.js when there is no other.ts, and `./other`
 *  finds other.js. Only for functions that were TypeScript; others get node's rules unchanged. */

const { statSync } = process.getBuiltinModule('node:fs');
const { registerHooks } = process.getBuiltinModule('node:module');

const COMPILED = /** @type {Record<string, string>} */ ({ ts: 'js', mts: 'mjs', cts: 'cjs' });

export function resolveTypeScript() {
  registerHooks({
    resolve(specifier, context, next) {
      const { parentURL } = context;
      if (!/^\.{0,2}\//.test(specifier) || !parentURL?.startsWith('file:') || parentURL.includes('/node_modules/')) {
        return next(specifier, context);
      }
      const url = compiledFile(new URL(specifier, parentURL));
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
    },
  });
}

/** The file that is meant by a specifier that names none, if there is one.
 *  @param {URL} url @returns {string | undefined} */
function compiledFile(url) {
  if (isFile(url)) return undefined;
  const [, stem, suffix] = /^(.*)\.([mc]?ts)$/.exec(url.href) ?? [];
  const candidates =
    suffix === undefined
      ? ['.js', '.mjs', '.cjs', '/index.js'].map((end) => url.href.replace(/\/$/, '') + end)
      : [`${stem}.${COMPILED[suffix]}`];
  return candidates.find((candidate) => isFile(new URL(candidate)));
}

/** @param {URL} url */
function isFile(url) {
  return statSync(url, { throwIfNoEntry: false })?.isFile() === true;
}
