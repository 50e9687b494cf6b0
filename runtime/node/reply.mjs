/** A reply on a connection of ours: what web.mjs, event.mjs and streaming handlers use of node's ServerResponse. Its head
 *  leaves with the first of its body, and in one piece with a body that is known as a whole. */

const { Writable } = process.getBuiltinModule('node:stream');

/** @import { Socket } from 'node:net' */

const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BAD_FIELD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const NOT_ASCII = /[^\0-\x7f]/;

export class Reply extends Writable {
  statusCode = 200;
  /** A body that is not as long as its header says is an error. */
  strictContentLength = false;
  #socket;
  #isHead;
  #reason = '';
  /** @type {Map<string, string[]>} */
  #set = new Map();
  /** @type {string | undefined} */
  #fields;
  #isHeadOut = false;
  /** What its header says. @type {number | undefined} */
  #length;
  #size = 0;
  #isChunked = false;
  #isBodiless = false;

  /** @param {Socket} socket @param {boolean} isHead @param {() => void} over */
  constructor(socket, isHead, over) {
    super({ decodeStrings: false });
    this.#socket = socket;
    this.#isHead = isHead;
    this.on('error', () => {}); // The client has gone, or who writes after the end has only themselves to tell.
    this.once('close', over);
  }

  /** It is too late for another head. */
  get headersSent() {
    return this.#fields !== undefined;
  }

  /** @param {string} name @param {string | string[]} value */
  setHeader(name, value) {
    this.#set.set(name.toLowerCase(), [name, ...[value].flat().map(String)]);
  }

  /** @param {number} status @param {string | string[] | Record<string, string | number>} [reason]
   *  @param {string[] | Record<string, string | number>} [headers] */
  writeHead(status, reason, headers) {
    if (this.#fields !== undefined) throw new Error('the head is written already');
    const given = typeof reason === 'string' ? headers : reason;
    const raw = Array.isArray(given) ? given : Object.entries(given ?? {}).flat();
    for (const [name = '', ...values] of this.#set.values()) raw.push(...values.flatMap((value) => [name, value]));
    let fields = '';
    for (let at = 0; at < raw.length; at += 2) fields += this.#field(String(raw[at]), String(raw[at + 1]));
    if (typeof reason === 'string') {
      if (BAD_FIELD_VALUE.test(reason)) throw new TypeError('Invalid character in statusMessage');
      this.#reason = reason;
    }
    this.statusCode = status;
    this.#fields = fields;
    return this;
  }

  flushHeaders() {
    if (!this.#isHeadOut) this.#socket.write(this.#head(), 'latin1');
  }

  /** @override @param {any} chunk @param {any} [encoding] @param {any} [done] */
  write(chunk, encoding, done) {
    this.#count(chunk, encoding);
    return super.write(chunk, encoding, done);
  }

  /** @override @param {any} [chunk] @param {any} [encoding] @param {any} [done] */
  end(chunk, encoding, done) {
    const hasChunk = chunk !== undefined && chunk !== null && typeof chunk !== 'function';
    if (hasChunk) this.#count(chunk, encoding);
    if (this.strictContentLength && this.#length !== undefined && this.#length !== this.#size) {
      throw new Error(`the body has ${this.#size} bytes, its content-length says ${this.#length}`);
    }
    if (this.#fields === undefined) {
      this.writeHead(this.statusCode);
      if (this.#length === undefined && !this.#hasNoBody) this.#fields = `${this.#fields}${this.#lengthField()}`;
    }
    return super.end(chunk, encoding, done);
  }

  /** @override @param {any} chunk @param {any} encoding @param {(error?: Error | null) => void} done */
  _write(chunk, encoding, done) {
    const socket = this.#socket;
    const head = this.#isHeadOut ? '' : this.#head();
    if (this.#isBodiless || chunk.length === 0) {
      if (head === '') done();
      else socket.write(head, 'latin1', done);
    } else if (!this.#isChunked && (head === '' || (typeof chunk === 'string' && !NOT_ASCII.test(head)))) {
      socket.write(typeof chunk === 'string' ? head + chunk : chunk, encoding, done);
    } else {
      socket.cork();
      socket.write(this.#isChunked ? `${head}${sizeOf(chunk, encoding).toString(16)}\r\n` : head, 'latin1');
      socket.write(chunk, encoding, this.#isChunked ? undefined : done);
      if (this.#isChunked) socket.write('\r\n', 'latin1', done);
      socket.uncork();
    }
  }

  /** @override @param {(error?: Error | null) => void} done */
  _final(done) {
    const last = `${this.#isHeadOut ? '' : this.#head()}${this.#isChunked ? '0\r\n\r\n' : ''}`;
    if (last === '') done();
    else this.#socket.write(last, 'latin1', done);
  }

  /** One that breaks off must not look whole.
   *  @override @param {Error | null} error @param {(error?: Error | null) => void} done */
  _destroy(error, done) {
    if (!this.writableFinished) this.#socket.destroy();
    done(error);
  }

  get #hasNoBody() {
    return this.#isHead || this.statusCode === 204 || this.statusCode === 304;
  }

  #head() {
    if (this.#fields === undefined) this.writeHead(this.statusCode);
    this.#isHeadOut = true;
    this.#isBodiless = this.#hasNoBody;
    this.#isChunked = this.#length === undefined && !this.#isBodiless;
    const chunked = this.#isChunked ? 'transfer-encoding: chunked\r\n' : '';
    return `HTTP/1.1 ${this.statusCode} ${this.#reason}\r\n${this.#fields}${chunked}\r\n`;
  }

  /** @param {string} name @param {string} value */
  #field(name, value) {
    if (!FIELD_NAME.test(name)) throw new TypeError(`Header name must be a valid HTTP token ["${name}"]`);
    if (BAD_FIELD_VALUE.test(value)) throw new TypeError(`Invalid character in header content ["${name}"]`);
    if (name.toLowerCase() === 'content-length') this.#length = Number(value);
    return `${name}: ${value}\r\n`;
  }

  #lengthField() {
    return this.#field('content-length', String(this.#size));
  }

  /** @param {any} chunk @param {any} encoding */
  #count(chunk, encoding) {
    this.#size += sizeOf(chunk, encoding);
    if (this.strictContentLength && this.#length !== undefined && this.#size > this.#length) {
      throw new Error(`the body is longer than the ${this.#length} bytes its content-length says`);
    }
  }
}

/** @param {any} chunk @param {any} encoding */
function sizeOf(chunk, encoding) {
  return typeof chunk === 'string'
    ? Buffer.byteLength(
        chunk,
        /** @type {BufferEncoding | undefined} */ (typeof encoding === 'string' ? encoding : undefined),
      )
    : chunk.length;
}
