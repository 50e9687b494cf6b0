/** Requests on a connection of ours: what web.mjs and event.mjs use of node's IncomingMessage. Most have no body, and are no
 *  streams then: making one takes longer than the rest of such a request. */

const { Readable: ReadableStreamOfNode } = process.getBuiltinModule('node:stream');

/** It is not the gateway who speaks, or not what was agreed. */
export class BadRequest extends Error {}

/** @typedef {{ rawHeaders: string[], headers: Record<string, string> }} Fields */

/** @param {readonly string[]} lines of the head, behind its first @returns {Fields} */
export function fieldsOf(lines) {
  /** @type {Fields} */
  const { rawHeaders, headers } = { rawHeaders: [], headers: Object.create(null) };
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new BadRequest('not a field');
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    rawHeaders.push(name, value);
    // Of one that came twice the first, as the gateway lets nothing that matters come twice.
    headers[name.toLowerCase()] ??= value;
  }
  return { rawHeaders, headers };
}

export class EmptyRequest {
  httpVersion = '1.1';
  /** There is nothing to read. */
  isEmpty = true;
  /** As of a stream that nobody began to read. */
  readableFlowing = null;

  /** @param {string} method @param {string} url @param {Fields} fields */
  constructor(method, url, { rawHeaders, headers }) {
    this.method = method;
    this.url = url;
    this.rawHeaders = rawHeaders;
    this.headers = headers;
  }
}

export class IncomingRequest extends ReadableStreamOfNode {
  httpVersion = '1.1';
  #wanted;

  /** @param {string} method @param {string} url @param {Fields} fields
   *  @param {() => void} wanted more of the body, after there was too much */
  constructor(method, url, { rawHeaders, headers }, wanted) {
    super();
    this.method = method;
    this.url = url;
    this.rawHeaders = rawHeaders;
    this.headers = headers;
    this.#wanted = wanted;
  }

  /** @override */
  _read() {
    this.#wanted();
  }

  /** Nobody need listen for a client that goes.
   *  @override @param {Error | null} error @param {(error?: Error | null) => void} done */
  _destroy(error, done) {
    done(this.listenerCount('error') > 0 ? error : null);
  }
}
