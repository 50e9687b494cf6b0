/** A reply on a connection of ours: what web.mjs and event.mjs use of node's ServerResponse. Its head leaves with the first of
 *  its body, and in one piece with a body that is known as a whole. */

const { EventEmitter } = process.getBuiltinModule('node:events');

/** @import { Socket } from 'node:net' */

const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BAD_FIELD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const NOT_ASCII = /[^\0-\x7f]/;

/** 'drain': writing may go on. 'close': it is complete, or never will be. */
export class Reply extends EventEmitter {
  statusCode = 200;
  /** A body that is not as long as its header says is an error. */
  strictContentLength = false;
  destroyed = false;
  closed = false;
  writableEnded = false;
  /** All of it was handed to the kernel. */
  writableFinished = false;
  #socket;
  #isHead;
  #over;
  #reason = '';
  /** @type {Map<string, string[]> | undefined} */
  #set;
  /** @type {string | undefined} */
  #fields;
  #isHeadOut = false;
  /** What its header says. @type {number | undefined} */
  #length;
  #size = 0;
  #isChunked = false;
  #isBodiless = false;

  /** @param {Socket} socket @param {boolean} isHead @param {() => void} over at its 'close' */
  constructor(socket, isHead, over) {
    super();
    this.#socket = socket;
    this.#isHead = isHead;
    this.#over = over;
  }

  /** It is too late for another head. */
  get headersSent() {
    return this.#fields !== undefined;
  }

  /** @param {string} name @param {string | string[]} value */
  setHeader(name, value) {
    this.#set ??= new Map();
    this.#set.set(name.toLowerCase(), [name, ...[value].flat().map(String)]);
  }

  /** @param {number} status @param {string | string[] | Record<string, string | number>} [reason]
   *  @param {string[] | Record<string, string | number>} [headers] */
  writeHead(status, reason, headers) {
    if (this.#fields !== undefined) throw new Error('the head is written already');
    const given = typeof reason === 'string' ? headers : reason;
    const raw = Array.isArray(given) ? given : Object.entries(given ?? {}).flat();
    for (const [name = '', ...values] of this.#set?.values() ?? [])
      raw.push(...values.flatMap((value) => [name, value]));
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

  /** False when nothing more should be written before 'drain'.
   *  @param {string | Uint8Array} chunk @param {BufferEncoding} [encoding] */
  write(chunk, encoding) {
    if (this.writableEnded || this.closed) return true; // Nobody is there to read it.
    this.#count(chunk, encoding);
    if (this.#send(chunk, encoding)) return true;
    this.#socket.once('drain', () => this.emit('drain'));
    return false;
  }

  /** @param {string | Uint8Array} [chunk] @param {BufferEncoding} [encoding] */
  end(chunk, encoding) {
    if (this.writableEnded || this.closed) return;
    if (chunk !== undefined) this.#count(chunk, encoding);
    if (this.strictContentLength && this.#length !== undefined && this.#length !== this.#size) {
      throw new Error(`the body has ${this.#size} bytes, its content-length says ${this.#length}`);
    }
    if (this.#fields === undefined) {
      this.writeHead(this.statusCode);
      if (this.#length === undefined && !this.#hasNoBody) {
        const field = this.#field('content-length', String(this.#size));
        this.#fields = `${this.#fields}${field}`;
      }
    }
    this.writableEnded = true;
    if (!this.#isHeadOut || chunk !== undefined)
      this.#send(chunk ?? '', encoding, this.#isChunked ? undefined : this.#finished);
    else if (!this.#isChunked) this.#finished();
    if (this.#isChunked) this.#socket.write('0\r\n\r\n', 'latin1', this.#finished);
  }

  /** One that breaks off must not look whole. */
  destroy() {
    if (this.closed) return;
    this.destroyed = true;
    this.#socket.destroy();
    this.#close();
  }

  /** @param {Error | null} [error] of a connection that broke; it closes */
  #finished = (error) => {
    if (error || this.closed) return;
    this.writableFinished = true;
    this.#close();
  };

  #close() {
    this.closed = true;
    this.emit('close');
    this.#over();
  }

  /** @param {string | Uint8Array} chunk @param {BufferEncoding} [encoding] @param {(error?: Error | null) => void} [sent] */
  #send(chunk, encoding, sent) {
    const socket = this.#socket;
    const head = this.#isHeadOut ? '' : this.#head();
    const isText = typeof chunk === 'string';
    if (this.#isBodiless || chunk.length === 0) {
      // Of a chunk without bytes the size would end the body.
      return head === '' && sent === undefined ? true : socket.write(head, 'latin1', sent);
    }
    if (!this.#isChunked) {
      if (isText && !NOT_ASCII.test(head)) return socket.write(head + chunk, encoding, sent);
      if (head === '') return socket.write(chunk, sent);
    }
    socket.cork();
    socket.write(this.#isChunked ? `${head}${sizeOf(chunk, encoding).toString(16)}\r\n` : head, 'latin1');
    const hasRoom = isText
      ? socket.write(chunk, encoding, this.#isChunked ? undefined : sent)
      : socket.write(chunk, this.#isChunked ? undefined : sent);
    if (this.#isChunked) socket.write('\r\n', 'latin1', sent);
    socket.uncork();
    return hasRoom;
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
    if (name.length === 14 && name.toLowerCase() === 'content-length') this.#length = Number(value);
    return `${name}: ${value}\r\n`;
  }

  /** @param {string | Uint8Array} chunk @param {BufferEncoding} [encoding] */
  #count(chunk, encoding) {
    if (!this.strictContentLength && this.#fields !== undefined) return; // Nobody will ask.
    this.#size += sizeOf(chunk, encoding);
    if (this.strictContentLength && this.#length !== undefined && this.#size > this.#length) {
      throw new Error(`the body is longer than the ${this.#length} bytes its content-length says`);
    }
  }
}

/** @param {string | Uint8Array} chunk @param {BufferEncoding} [encoding] */
function sizeOf(chunk, encoding) {
  return typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : chunk.length;
}
