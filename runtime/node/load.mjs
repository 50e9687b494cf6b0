/** Finds a function's handler and recognises its shape. The rule, in README.md for users: an object with fetch() is web
 *  standard; a default export with at most one parameter is web standard, with more node style; any other export has the
 *  Lambda signature. */

import { existsSync } from 'node:fs';

/** @import { Claim, ErrorDescription, Handle, LoadedHandler } from './types.d.ts' */

const SUFFIXES = ['.js', '.mjs', '.cjs'];

/** The handler does not exist, as opposed to: it exists and throws while it loads. */
class MissingHandler extends Error {
  /** @override */
  name = 'MissingHandler';
}

/** Streaming handlers are marked by awslambda.streamifyResponse, which they call while they load. */
const STREAMING = Symbol.for('fn.streaming');
/** How HttpResponseStream.from finds the reply that a response stream writes to. */
export const RESPONSE_HEAD = Symbol('fn.response-head');

// The name and shape are AWS's: handlers written for it find it as a global.
Object.defineProperty(globalThis, 'awslambda', {
  configurable: true,
  value: {
    /** @param {Function} handler */
    streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: true }),
    HttpResponseStream: {
      /** @param {any} stream @param {unknown} head */
      from(stream, head) {
        stream[RESPONSE_HEAD](head);
        return stream;
      },
    },
  },
});

/** Loads what the claim names and returns what answers requests from then on.
 *  @param {Claim} claim @param {string} root @returns {Promise<Handle>} */
export async function loadHandler(claim, root) {
  const found = await findHandler(claim.handler, root);
  if (found.shape === 'web') return (await import('./web.mjs')).serveWeb(found.call);
  if (found.shape === 'event') return (await import('./event.mjs')).serveEvents(found.call, found.streaming, claim);
  return found.call;
}

/** @param {string} handler @param {string} root @returns {Promise<LoadedHandler>} */
async function findHandler(handler, root) {
  const dot = handler.lastIndexOf('.');
  const stem = handler.slice(0, dot);
  const name = handler.slice(dot + 1);
  const file = SUFFIXES.map((suffix) => stem + suffix).find((candidate) => existsSync(`${root}/${candidate}`));
  if (!file) {
    throw new MissingHandler(
      `handler "${handler}" needs a file ${SUFFIXES.map((suffix) => stem + suffix).join(', ')}; there is none`,
    );
  }
  const module = exportsOf(await import(`${root}/${file}`));
  return recognise(module, name, file);
}

/** The exports of an ES module as they are; of a CommonJS module what `module.exports` holds.
 *  @param {Record<string, unknown>} module @returns {Record<string, unknown>} */
function exportsOf(module) {
  if (!Object.hasOwn(module, 'module.exports')) return module;
  const value = /** @type {any} */ (module['module.exports']);
  if (value?.__esModule) return value;
  if (typeof value === 'function' || typeof value?.fetch === 'function') return { ...value, default: value };
  return Object(value);
}

/** @param {Record<string, unknown>} module @param {string} name @param {string} file @returns {LoadedHandler} */
function recognise(module, name, file) {
  const value = /** @type {any} */ (module[name]);
  if (typeof value?.fetch === 'function') {
    return { shape: 'web', call: (request) => value.fetch(request) };
  }
  if (typeof value === 'function') {
    if (name !== 'default') return { shape: 'event', call: value, streaming: value[STREAMING] === true };
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

/** An error as the platform reports it: paths relative to the function's directory, our own frames left out.
 *  @param {unknown} thrown @param {string} root @returns {ErrorDescription} */
export function describeError(thrown, root) {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`);
  const kind = error instanceof MissingHandler ? 'missing' : 'load';
  const own = import.meta.url.slice(0, import.meta.url.lastIndexOf('/') + 1);
  const stack = (kind === 'missing' ? error.message : (error.stack ?? String(error)))
    .split('\n')
    .filter((line) => !line.includes(own) && !/^\s+at .*\(?node:internal/.test(line))
    .join('\n')
    .replaceAll(`file://${root}/`, '')
    .replaceAll(`${root}/`, '');
  return { name: error.name, message: error.message.replaceAll(`${root}/`, ''), stack, kind };
}
