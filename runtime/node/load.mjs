/** Finds a function's handler and recognises its shape. The rule, in README.md for users: an object with fetch() is web
 *  standard; a default export with at most one parameter is web standard, with more node style; any other export has the
 *  Lambda signature. */

import { isStreaming, serveEvents } from './event.mjs';
import { MissingHandler } from './errors.mjs';
import { serveWeb } from './web.mjs';

/** @import { Claim, FoundHandler, Handle, LoadedHandler } from './types.d.ts' */

const { existsSync } = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');

const SUFFIXES = ['.js', '.mjs', '.cjs'];

/** Loads what the claim names and returns what answers requests from then on.
 *  @param {Claim} claim @param {string} root @returns {Promise<LoadedHandler>} */
export async function loadHandler(claim, root) {
  const dot = claim.handler.lastIndexOf('.');
  const stem = claim.handler.slice(0, dot);
  const candidates = SUFFIXES.map((suffix) => stem + suffix);
  const file = candidates.find((candidate) => existsSync(`${root}/${candidate}`));
  if (!file)
    throw new MissingHandler(`handler "${claim.handler}" needs one of ${candidates.join(', ')}; there is none`);
  const found = recognise(exportsOf(await loadModule(`${root}/${file}`)), claim.handler.slice(dot + 1), file);
  return { shape: found.shape, handle: handleOf(found, claim) };
}

/** @param {FoundHandler} found @param {Claim} claim @returns {Handle} */
function handleOf(found, claim) {
  if (found.shape === 'web') return serveWeb(found.call);
  if (found.shape === 'event') return serveEvents(found.call, isStreaming(found.call), claim);
  return found.call;
}

/** require() loads either kind of module, in half the time of import() (0.3–0.6 ms against 0.8–1.2 for one file), but not
 *  a module with a top-level await: it refuses that one before running any of it.
 *  @param {string} path @returns {Promise<unknown>} */
async function loadModule(path) {
  try {
    return createRequire(path)(path);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error)?.code === 'ERR_REQUIRE_ASYNC_MODULE') return import(path);
    if (error instanceof SyntaxError) await (await import('./syntax.mjs')).locate(error, path);
    throw error;
  }
}

/** The exports of an ES module as they are; `module.exports` of a CommonJS module by its properties, and as the default
 *  where it is a handler itself.
 *  @param {any} loaded @returns {Record<string, any>} */
function exportsOf(loaded) {
  if (loaded?.[Symbol.toStringTag] === 'Module' || loaded?.__esModule) return loaded;
  if (typeof loaded === 'function' || typeof loaded?.fetch === 'function') return { ...loaded, default: loaded };
  return { ...loaded };
}

/** @param {Record<string, any>} module @param {string} name @param {string} file @returns {FoundHandler} */
function recognise(module, name, file) {
  const value = module[name];
  if (typeof value?.fetch === 'function') return { shape: 'web', call: (request) => value.fetch(request) };
  if (typeof value === 'function') {
    if (name !== 'default') return { shape: 'event', call: value };
    return value.length <= 1 ? { shape: 'web', call: value } : { shape: 'node', call: value };
  }
  // The default of fn.yaml is `index.default`: a file that only exports `handler` means that.
  if (name === 'default' && value === undefined && typeof module['handler'] === 'function') {
    return recognise(module, 'handler', file);
  }
  if (value !== undefined) {
    throw new MissingHandler(`the export "${name}" of ${file} is neither a function nor an object with fetch()`);
  }
  const names = Object.keys(module).join(', ');
  throw new MissingHandler(`${file} has no export "${name}"; it exports ${names || 'nothing'}`);
}
