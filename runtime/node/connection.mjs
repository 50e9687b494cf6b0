/** One connection of the gateway to a sandbox, as HTTP/1.1. Node's own server would do the same, but a process that starts
 *  for one call pays 4 ms of processor time for loading it and 5 more for the code that its first request compiles. The
 *  gateway is the only client: it has parsed every request strictly and written it anew, one at a time, so that what is left
 *  are a head, and a body of known length or in chunks. Anything else closes the connection.
 *
 *  What a request and a reply can do here is what web.mjs and event.mjs need of node's classes; a handler of node's own
 *  shape gets those (bootstrap.mjs). */

import { Reply } from './reply.mjs';
import { BadRequest, EmptyRequest, fieldsOf, IncomingRequest } from './incoming.mjs';

/** @import { Socket } from 'node:net' */
/** @import { Serve } from './types.d.ts' */

const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');
/** The gateway's own limit is below. */
const HEAD_MAX = 256 * 1024;
const CHUNK_LINE_MAX = 64;
const REQUEST_LINE = /^(\S+) (\S+) HTTP\/1\.1$/;
const LENGTH = /^\d{1,15}$/;
const CHUNK_SIZE = /^[0-9a-f]{1,12}$/i;

/** What the next bytes are. `size` to `trailers` are of a body in chunks.
 *  @typedef {'head' | 'body' | 'size' | 'chunk' | 'chunk end' | 'trailers'} Expecting */

export class Connection {
  /** @type {Socket} */
  #socket;
  /** @type {Serve} */
  #serve;
  /** @type {Expecting} */
  #expecting = 'head';
  /** What came and was not used yet. @type {Buffer | undefined} */
  #rest;
  /** Bytes of the body or chunk that are still to come. */
  #left = 0;
  /** Of the request that was not answered yet, or whose body is not complete. @type {Reply | undefined} */
  #reply;
  /** Its request, if it has a body. @type {IncomingRequest | undefined} */
  #body;

  /** @param {Socket} socket @param {Serve} serve */
  constructor(socket, serve) {
    this.#socket = socket;
    this.#serve = serve;
    socket.on('data', (chunk) => {
      this.#rest = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
      this.#advance();
    });
    socket.on('end', () => socket.end()); // The gateway has given up, or needs it no more.
    socket.on('error', () => {}); // 'close' follows.
    socket.on('close', () => {
      this.#body?.destroy(new Error('aborted'));
      this.#reply?.destroy();
    });
  }

  /** Uses what is there, as far as it goes. */
  #advance() {
    try {
      while (this.#rest && this.#step(this.#rest));
    } catch (error) {
      this.#socket.destroy();
      if (!(error instanceof BadRequest)) throw error;
    }
  }

  /** False when more has to come first. Last in a body with chunks are its trailers.
   *  @param {Buffer} rest */
  #step(rest) {
    switch (this.#expecting) {
      case 'head':
        if (!this.#reply) return this.#takeHead(rest);
        this.#socket.pause(); // The reply before is still being written.
        return false;
      case 'body':
      case 'chunk':
        return this.#takeBody(rest);
      case 'size': {
        const line = this.#takeLine(rest, CHUNK_LINE_MAX);
        if (line === undefined) return false;
        if (!CHUNK_SIZE.test(line)) throw new BadRequest('not the size of a chunk');
        this.#left = parseInt(line, 16);
        this.#expecting = this.#left > 0 ? 'chunk' : 'trailers';
        return true;
      }
      case 'chunk end': {
        const line = this.#takeLine(rest, 0);
        if (line === undefined) return false;
        this.#expecting = 'size';
        return true;
      }
      default: {
        const line = this.#takeLine(rest, HEAD_MAX);
        if (line === '') this.#endBody();
        return line !== undefined;
      }
    }
  }

  /** @param {Buffer} rest */
  #takeHead(rest) {
    const end = rest.indexOf(HEAD_END);
    if (end < 0) {
      if (rest.length > HEAD_MAX) throw new BadRequest('the head is too long');
      return false;
    }
    this.#use(rest, end + HEAD_END.length);
    const [first = '', ...lines] = rest.toString('latin1', 0, end).split('\r\n');
    const [, method, url] = REQUEST_LINE.exec(first) ?? [];
    if (method === undefined || url === undefined) throw new BadRequest('not a request');
    const fields = fieldsOf(lines);
    this.#expecting = this.#frame(fields.headers);
    if (this.#expecting !== 'head') this.#body = new IncomingRequest(method, url, fields, this.#wanted);
    const request = this.#body ?? new EmptyRequest(method, url, fields);
    const reply = new Reply(this.#socket, method === 'HEAD', this.#replied);
    this.#reply = reply;
    if (fields.headers['expect'] !== undefined) this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    this.#serve(/** @type {any} */ (request), /** @type {any} */ (reply));
    return true;
  }

  /** What comes behind the head. @param {Record<string, string>} headers @returns {Expecting} */
  #frame(headers) {
    if (headers['transfer-encoding'] !== undefined) return 'size';
    const length = headers['content-length'] ?? '0';
    if (!LENGTH.test(length)) throw new BadRequest('not a length');
    this.#left = Number(length);
    return this.#left > 0 ? 'body' : 'head';
  }

  /** @param {Buffer} rest */
  #takeBody(rest) {
    const size = Math.min(rest.length, this.#left);
    this.#left -= size;
    this.#use(rest, size);
    const part = size === rest.length ? rest : rest.subarray(0, size);
    const isTaken = this.#body?.destroyed || this.#body?.push(part);
    if (this.#left === 0) {
      if (this.#expecting === 'chunk') this.#expecting = 'chunk end';
      else this.#endBody();
    }
    if (isTaken === false) this.#socket.pause();
    return isTaken !== false;
  }

  #endBody() {
    this.#expecting = 'head';
    this.#body?.push(null);
    if (this.#reply?.closed) this.#next();
  }

  /** Without its end; undefined when it is not complete.
   *  @param {Buffer} rest @param {number} most */
  #takeLine(rest, most) {
    const end = rest.indexOf(LINE_END);
    if (end > most || (end < 0 && rest.length > most + 1)) throw new BadRequest('the line is too long');
    if (end < 0) return undefined;
    this.#use(rest, end + LINE_END.length);
    return rest.toString('latin1', 0, end);
  }

  /** @param {Buffer} rest @param {number} size */
  #use(rest, size) {
    this.#rest = size === rest.length ? undefined : rest.subarray(size);
  }

  /** More can be used of what comes. */
  #wanted = () => {
    if (!this.#socket.isPaused()) return;
    this.#socket.resume();
    this.#advance();
  };

  /** The reply is complete, or never will be. What nobody read of the body stands before the next request. */
  #replied = () => {
    if (this.#expecting === 'head') this.#next();
    else if (this.#body?.readableFlowing === null) this.#body.resume();
  };

  #next() {
    this.#body = this.#reply = undefined;
    this.#wanted();
  }
}
