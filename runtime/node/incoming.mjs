/** A request on a connection of ours: what web.mjs and event.mjs use of node's IncomingMessage. */

const streams = process.getBuiltinModule('node:stream');

export class IncomingRequest extends streams.Readable {
  httpVersion = '1.1';
  /** Names and values in turn, as they came. @type {string[]} */
  rawHeaders = [];
  /** By name in lower case. Of one that came twice the first, as the gateway lets nothing that matters come twice.
   *  @type {Record<string, string>} */
  headers = Object.create(null);
  #wanted;

  /** @param {string} method @param {string} url @param {string[]} lines of the head, behind its first
   *  @param {() => void} wanted more of the body, after there was too much */
  constructor(method, url, lines, wanted) {
    super();
    this.method = method;
    this.url = url;
    this.#wanted = wanted;
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon < 1) throw new Error('not a field');
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1).trim();
      this.rawHeaders.push(name, value);
      this.headers[name.toLowerCase()] ??= value;
    }
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
