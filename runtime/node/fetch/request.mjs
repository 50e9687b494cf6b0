/** The Request class of the Fetch standard. One that came in keeps node's own request and makes its URL, headers, signal
 *  and body only when they are asked for: most handlers ask for one or two. */

import { Body, extract, isNamed, isStream } from './body.mjs';
import { nativeFetch } from './form.mjs';
import { Headers } from './headers.mjs';

/** @import { IncomingMessage, ServerResponse } from 'node:http' */

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NORMALISED = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']);
const FORBIDDEN = new Set(['CONNECT', 'TRACE', 'TRACK']);
/** Members that only matter when the request is sent. */
const SENDING = ['redirect', 'mode', 'credentials', 'cache', 'referrer', 'referrerPolicy', 'integrity', 'keepalive'];
/** Makes the constructor take a body as it is. */
const INCOMING = Symbol('incoming');

export class Request extends Body {
  /** @type {string} */
  #method = 'GET';
  /** @type {string | undefined} */
  #url;
  /** @type {Headers | undefined} */
  #headers;
  /** @type {AbortSignal | undefined} */
  #signal;
  /** @type {Record<string, unknown>} */
  #sending = {};
  /** Where what is undefined above comes from.
   *  @type {{ request: IncomingMessage, response: ServerResponse } | undefined} */
  #incoming;

  /** @param {unknown} value @override */
  static [Symbol.hasInstance](value) {
    if (this !== Request) return Function.prototype[Symbol.hasInstance].call(this, value);
    return isNamed('Request', value);
  }

  /** @param {IncomingMessage} request @param {ServerResponse} response */
  static ofIncoming(request, response) {
    const method = request.method ?? 'GET';
    const isEmpty = method === 'GET' || method === 'HEAD' || /** @type {any} */ (request).isEmpty;
    const made = new Request(INCOMING, isEmpty ? null : request);
    made.#method = method;
    made.#incoming = { request, response };
    return made;
  }

  /** @param {any} input @param {any} [init] */
  constructor(input, init) {
    if (input === INCOMING) {
      super(init);
      return;
    }
    const from = input instanceof Request ? input : undefined;
    const method = methodOf(init?.method ?? from?.method ?? 'GET');
    const { source, type } = bodyOf(init, from);
    if (source !== null && (method === 'GET' || method === 'HEAD')) {
      throw new TypeError(`Request with ${method} method cannot have body.`);
    }
    super(source);
    this.#method = method;
    this.#url = from ? from.url : urlOf(input);
    this.#headers = new Headers(init?.headers ?? from?.headers);
    if (type !== undefined && !this.#headers.has('content-type')) this.#headers.set('content-type', type);
    const signal = init?.signal === undefined ? from?.signal : init.signal;
    this.#signal = AbortSignal.any(signal ? [signal] : []);
    /** @type {any} */
    const other = from;
    this.#sending = Object.fromEntries(SENDING.map((name) => [name, init?.[name] ?? other?.[name]]));
  }

  get method() {
    return this.#method;
  }

  get url() {
    return (this.#url ??= this.#incoming ? urlOfIncoming(this.#incoming.request) : '');
  }

  get headers() {
    return (this.#headers ??= Headers.ofIncoming(this.#incoming?.request.rawHeaders ?? []));
  }

  /** Of a request that came in: aborts when the client is gone. */
  get signal() {
    return (this.#signal ??= this.#incoming ? signalOf(this.#incoming.response) : AbortSignal.any([]));
  }

  get duplex() {
    return 'half';
  }

  get redirect() {
    return this.#sending['redirect'] ?? 'follow';
  }

  get mode() {
    return this.#sending['mode'] ?? 'cors';
  }

  get credentials() {
    return this.#sending['credentials'] ?? 'same-origin';
  }

  get cache() {
    return this.#sending['cache'] ?? 'default';
  }

  get referrer() {
    return this.#sending['referrer'] ?? 'about:client';
  }

  get referrerPolicy() {
    return this.#sending['referrerPolicy'] ?? '';
  }

  get integrity() {
    return this.#sending['integrity'] ?? '';
  }

  get keepalive() {
    return this.#sending['keepalive'] ?? false;
  }

  get destination() {
    return '';
  }

  clone() {
    const copy = Body.copy(this);
    const clone = new Request(INCOMING, typeof copy === 'string' ? Buffer.from(copy) : copy);
    clone.#method = this.#method;
    clone.#url = this.url;
    clone.#headers = new Headers(this.headers);
    clone.#signal = AbortSignal.any([this.signal]);
    clone.#sending = this.#sending;
    return clone;
  }

  get [Symbol.toStringTag]() {
    return 'Request';
  }

  [Symbol.for('nodejs.util.inspect.custom')]() {
    return { method: this.method, url: this.url, headers: this.headers };
  }

  /** What node's own fetch takes instead of one of ours. @param {Request} request @returns {[string, RequestInit]} */
  static toNative(request) {
    const { url, method, headers, body, signal } = request;
    return [url, /** @type {any} */ ({ ...request.#sending, method, headers, body, signal, duplex: 'half' })];
  }
}

/** Node's fetch, for requests of this class too.
 *  @param {any} input @param {any} [init] @returns {Promise<globalThis.Response>} */
export async function fetch(input, init) {
  if (!(input instanceof Body)) return nativeFetch(input, init);
  const request = /** @type {Request} */ (init === undefined ? input : new Request(input, init));
  const [url, own] = Request.toNative(request);
  return nativeFetch(url, own);
}

/** @param {any} init @param {Request | undefined} from */
function bodyOf(init, from) {
  const given = init?.body ?? undefined;
  if (given === undefined) {
    if (from?.bodyUsed)
      throw new TypeError('Cannot construct a Request with a Request object that has already been used.');
    return { source: from?.body ?? null };
  }
  if (isStream(given) && init.duplex !== 'half') {
    throw new TypeError('RequestInit: duplex option is required when sending a body.');
  }
  return extract(given);
}

/** @param {unknown} method */
function methodOf(method) {
  const text = String(method);
  const upper = text.toUpperCase();
  if (!METHOD.test(text) || FORBIDDEN.has(upper)) throw new TypeError(`'${text}' is not a valid HTTP method.`);
  return NORMALISED.has(upper) ? upper : text;
}

/** @param {unknown} input */
function urlOf(input) {
  const url = new URL(String(input));
  if (url.username || url.password)
    throw new TypeError(`Request cannot be constructed from a URL that includes credentials`);
  return url.href;
}

/** @param {IncomingMessage} request */
function urlOfIncoming(request) {
  const scheme = request.headers['x-forwarded-proto'] === 'https' ? 'https' : 'http';
  const path = request.url?.startsWith('/') ? request.url : '/'; // `*`, of OPTIONS.
  const url = URL.parse(`${scheme}://${request.headers.host}${path}`);
  return url?.href ?? `${scheme}://localhost${path}`;
}

/** @param {ServerResponse} response */
function signalOf(response) {
  const gone = new AbortController();
  const closed = () => response.writableFinished || gone.abort();
  if (response.closed) closed();
  else response.once('close', closed);
  return gone.signal;
}
