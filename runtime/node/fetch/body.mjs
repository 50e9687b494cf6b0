/** What Request and Response have in common: a body that can be read once. It is kept as it came (text, bytes, a stream,
 *  node's own request) until somebody asks for another form. */

import { readBody } from '../read.mjs';
import { decodeForm, encodeForm } from './form.mjs';

/** @typedef {ReadableStream<Uint8Array>} Stream */
/** @typedef {string | Uint8Array | Stream | import('node:http').IncomingMessage | null} Source */

const { Readable } = process.getBuiltinModule('node:stream');

/** Whether anything was read from it: `isDisturbed` of node:stream, which the types know on Readable only.
 *  @type {(stream: Stream) => boolean} */
const isDisturbed = /** @type {any} */ (Readable).isDisturbed;

export class Body {
  /** @type {Source} */
  #source;
  #used = false;

  /** @param {Source} source */
  constructor(source) {
    this.#source = source;
  }

  /** The body as it is kept, for sending it; nothing else can read it afterwards.
   *  @param {Body} owner */
  static take(owner) {
    return owner.#take();
  }

  /** A second body with the same content.
   *  @param {Body} owner @returns {Source} */
  static copy(owner) {
    if (owner.bodyUsed || (isStream(owner.#source) && owner.#source.locked)) {
      throw new TypeError('a body that was read cannot be cloned');
    }
    const source = owner.#source instanceof Readable ? owner.body : owner.#source;
    if (!isStream(source)) return source;
    const [kept, copy] = source.tee();
    owner.#source = kept;
    return copy;
  }

  /** @returns {Stream | null} */
  get body() {
    const source = this.#source;
    if (source === null || isStream(source)) return source;
    const stream = streamOf(source);
    this.#source = stream;
    if (this.#used) stream.getReader(); // A body that was read shows as a locked stream.
    return stream;
  }

  get bodyUsed() {
    return this.#used || (isStream(this.#source) && isDisturbed(this.#source));
  }

  /** @returns {Promise<string>} */
  async text() {
    const source = this.#take();
    const text = typeof source === 'string' ? source.toWellFormed() : (await bytesOf(source)).toString();
    return text.codePointAt(0) === 0xfeff ? text.slice(1) : text; // UTF-8 decode drops the byte order mark.
  }

  /** @returns {Promise<any>} */
  async json() {
    return JSON.parse(await this.text());
  }

  /** @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async bytes() {
    return new Uint8Array(await bytesOf(this.#take()));
  }

  /** @returns {Promise<ArrayBuffer>} */
  async arrayBuffer() {
    return (await this.bytes()).buffer;
  }

  /** @returns {Promise<Blob>} */
  async blob() {
    return new Blob([await this.bytes()], { type: this.#type() });
  }

  /** @returns {Promise<FormData>} */
  async formData() {
    const bytes = new Uint8Array(await bytesOf(this.#take()));
    return decodeForm(bytes, this.#type());
  }

  /** @returns {string} */
  #type() {
    return /** @type {any} */ (this).headers.get('content-type') ?? '';
  }

  #take() {
    const source = this.#source;
    if (this.bodyUsed || (isStream(source) && source.locked)) {
      throw new TypeError('Body is unusable: Body has already been read');
    }
    this.#used = source !== null;
    return source;
  }
}

/** A body as the constructors accept it: how it is kept, and the content type it implies.
 *  @param {any} init @returns {{ source: Source, type?: string }} */
export function extract(init) {
  if (init === null || init === undefined) return { source: null };
  if (typeof init !== 'object') return { source: String(init), type: 'text/plain;charset=UTF-8' };
  if (ArrayBuffer.isView(init)) {
    return { source: Uint8Array.from(Buffer.from(init.buffer, init.byteOffset, init.byteLength)) };
  }
  if (init instanceof ArrayBuffer || init instanceof SharedArrayBuffer)
    return { source: new Uint8Array(init.slice(0)) };
  if (isStream(init)) {
    if (init.locked || isDisturbed(init)) throw new TypeError('the stream was read already');
    return { source: init };
  }
  if (init instanceof URLSearchParams) {
    return { source: init.toString(), type: 'application/x-www-form-urlencoded;charset=UTF-8' };
  }
  if (init instanceof Blob) return { source: init.stream(), ...(init.type && { type: init.type }) };
  if (init[Symbol.toStringTag] === 'FormData') return encodeForm(init);
  if (typeof init[Symbol.asyncIterator] === 'function') {
    return { source: /** @type {any} */ (ReadableStream).from(init) };
  }
  return { source: String(init), type: 'text/plain;charset=UTF-8' };
}

/** Asks for what a stream can do, since naming the class would load it.
 *  @param {any} value @returns {value is Stream} */
export function isStream(value) {
  return typeof value?.getReader === 'function';
}

/** What instanceof says for node's own classes, which fetch() gives: they are not at hand to compare with.
 *  @param {string} name @param {unknown} value */
export function isNamed(name, value) {
  return Object.prototype.toString.call(value) === `[object ${name}]`;
}

/** @param {string | Uint8Array | import('node:http').IncomingMessage} source @returns {Stream} */
function streamOf(source) {
  if (source instanceof Readable) return streamOfIncoming(source);
  const bytes = typeof source === 'string' ? Buffer.from(source) : source;
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      if (bytes.length > 0) controller.enqueue(new Uint8Array(bytes));
      controller.close();
    },
  });
}

/** Unlike Readable.toWeb, cancelling it leaves the connection usable: the next request may come over it.
 *  @param {import('node:http').IncomingMessage} incoming @returns {Stream} */
function streamOfIncoming(incoming) {
  return new ReadableStream({
    start(controller) {
      incoming.on('data', (chunk) => {
        controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
        if ((controller.desiredSize ?? 0) <= 0) incoming.pause();
      });
      incoming.on('end', () => controller.close());
      incoming.on('error', (error) => controller.error(error));
      incoming.pause();
    },
    pull: () => void incoming.resume(),
    cancel: () => discard(incoming),
  });
}

/** Reads what is left of a request and forgets it.
 *  @param {import('node:http').IncomingMessage} incoming */
export function discard(incoming) {
  incoming.removeAllListeners('data');
  incoming.removeAllListeners('end');
  incoming.resume();
}

/** @param {Source} source @returns {Promise<Buffer>} */
async function bytesOf(source) {
  if (source === null) return Buffer.alloc(0);
  if (typeof source === 'string') return Buffer.from(source);
  if (source instanceof Uint8Array) return Buffer.from(source);
  if (source instanceof Readable) return (await readBody(source)) ?? Buffer.alloc(0);
  /** @type {Uint8Array[]} */
  const chunks = [];
  for await (const chunk of /** @type {AsyncIterable<Uint8Array>} */ (source)) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('a body stream must give bytes');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
