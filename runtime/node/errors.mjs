/** Errors of a function, as the platform reports them. */

/** @import { ErrorDescription } from './types.d.ts' */

const { inspect } = process.getBuiltinModule('node:util');

/** Where our own modules are: their frames say nothing to the function's author. */
const OWN = import.meta.url.slice(0, import.meta.url.lastIndexOf('/') + 1);

/** The handler does not exist, as opposed to: it exists and throws while it loads. */
export class MissingHandler extends Error {}

const NO_NETWORK =
  '\nThis function has no network. Set network.egress in its fn.yaml: internet, internal, or a list of hosts.';

/** What connecting and resolving end with where there is nothing but loopback. It is the default, so whoever meets it for the
 *  first time sees "fetch failed".
 *  @param {unknown} thrown */
function lacksNetwork(thrown) {
  let error = /** @type {any} */ (thrown);
  for (let depth = 0; depth < 4 && error instanceof Error; depth++) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'EAI_AGAIN' || code === 'ENETUNREACH') return hasOnlyLoopback();
    error = error.cause;
  }
  return false;
}

function hasOnlyLoopback() {
  return Object.values(process.getBuiltinModule('node:os').networkInterfaces()).every((addresses) =>
    addresses?.every(({ internal }) => internal),
  );
}

/** Paths become relative to the function's directory; node's and our own frames go. The stack ends with the error's
 *  further properties and its cause, as node prints them.
 *  @param {unknown} thrown @param {string} root @returns {ErrorDescription} */
export function describeError(thrown, root) {
  if (thrown instanceof MissingHandler) {
    return { name: 'MissingHandler', message: thrown.message, stack: thrown.message, kind: 'missing' };
  }
  const isError = thrown instanceof Error;
  /** @param {string} text */
  const relative = (text) => text.replaceAll(`file://${root}/`, '').replaceAll(`${root}/`, '');
  const stack = inspect(thrown)
    .split('\n')
    .filter((line) => !/^\s+at /.test(line) || !(line.includes(OWN) || line.includes('node:internal')))
    .join('\n');
  return {
    name: isError ? thrown.name : typeof thrown,
    message: relative(isError ? thrown.message : String(thrown)),
    stack: relative(isError ? stack : `thrown: ${stack}`) + (lacksNetwork(thrown) ? NO_NETWORK : ''),
    kind: 'load',
  };
}
