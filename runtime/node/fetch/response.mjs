/** The Response class of the Fetch standard. */

import { Body, extract, isNamed } from './body.mjs';
import { Headers } from './headers.mjs';

const BODILESS = new Set([101, 204, 205, 304]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** A reason phrase (RFC 9112, 4). */
const STATUS_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;

export class Response extends Body {
  /** @type {number} */
  #status;
  /** @type {string} */
  #statusText;
  /** @type {Headers} */
  #headers;
  /** @type {'default' | 'error'} */
  #type = 'default';

  /** @param {unknown} value @override */
  static [Symbol.hasInstance](value) {
    if (this !== Response) return Function.prototype[Symbol.hasInstance].call(this, value);
    return isNamed('Response', value);
  }

  /** @param {unknown} data @param {{ status?: number, statusText?: string, headers?: unknown }} [init] */
  static json(data, init) {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError('Value is not JSON serializable');
    const response = new Response(text, init);
    if (!new Headers(init?.headers).has('content-type')) response.#headers.set('content-type', 'application/json');
    return response;
  }

  /** @param {string | URL} url @param {number} [status] */
  static redirect(url, status = 302) {
    if (!REDIRECTS.has(status)) throw new RangeError(`Invalid status code ${status}`);
    return new Response(null, { status, headers: { location: new URL(url).href } });
  }

  static error() {
    const response = new Response();
    response.#status = 0;
    response.#type = 'error';
    return response;
  }

  /** @param {unknown} [body] @param {{ status?: any, statusText?: any, headers?: unknown } | null} [init] */
  constructor(body, init) {
    const { source, type } = extract(body);
    super(source);
    const status = init?.status === undefined ? 200 : Math.trunc(Number(init.status));
    if (!(status >= 200 && status <= 599)) {
      throw new RangeError('init["status"] must be in the range of 200 to 599, inclusive.');
    }
    if (source !== null && BODILESS.has(status)) throw new TypeError(`a reply with status ${status} has no body`);
    const statusText = String(init?.statusText ?? '');
    if (!STATUS_TEXT.test(statusText)) throw new TypeError('Invalid statusText');
    this.#status = status;
    this.#statusText = statusText;
    this.#headers = new Headers(init?.headers);
    if (type !== undefined && !this.#headers.has('content-type')) this.#headers.set('content-type', type);
  }

  get status() {
    return this.#status;
  }

  get ok() {
    return this.#status >= 200 && this.#status <= 299;
  }

  get statusText() {
    return this.#statusText;
  }

  get headers() {
    return this.#headers;
  }

  get type() {
    return this.#type;
  }

  get url() {
    return '';
  }

  get redirected() {
    return false;
  }

  clone() {
    const copy = Body.copy(this);
    // As bytes a text implies no content type: the clone has exactly our headers.
    return new Response(typeof copy === 'string' ? Buffer.from(copy) : copy, this);
  }

  get [Symbol.toStringTag]() {
    return 'Response';
  }
}
