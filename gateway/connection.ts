/** One client's connection: requests come off it one after the other, replies go onto it in the same order. It reads heads
 *  and bodies strictly, feeds the body to whatever answers the request (an Exchange), and keeps every wait bounded: a head
 *  that dawdles, a body that stops, a reply nobody reads, an idle connection. While a reply is due it keeps reading, which
 *  is how it learns that the client has gone. */

import type { AddressSet } from '../core/addresses.ts';
import { FnError, toFnError } from '../core/errors.ts';
import { requestIdFrom } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';
import { ClientOrigin } from './client-origin.ts';
import type { ClientSocket, Door } from './door.ts';
import type { Exchange } from './exchange.ts';
import { BodyScanner } from './http/body.ts';
import { free } from './http/free.ts';
import { HEAD_END } from './http/fields.ts';
import { Outbox } from './http/outbox.ts';
import { checkPartialHead, HEAD_MAX, parseRequestHead, refuse, type RequestHead } from './http/parse-request.ts';
import { randomHex } from './http/random-ids.ts';
import { type PlainReply, problemReply, renderReply } from './http/write.ts';
import { latin1 } from './http/latin1.ts';
import { type ClientPatience, EVICT_AFTER } from './patience.ts';

/** What a connection needs of the gateway. */
export interface ConnectionOwner {
  readonly bodyLimit: number;
  /** Proxies that are believed about where a request came from. */
  readonly proxies: AddressSet | undefined;
  readonly patience: ClientPatience;
  /** No new requests: connections close after the reply under way. */
  readonly draining: boolean;
  open(connection: ClientConnection, head: RequestHead, requestId: string): Exchange;
  refused(error: FnError): void;
  closed(connection: ClientConnection): void;
}

/** The first line of HTTP/2's preface, made to be no request that HTTP/1.1 knows (RFC 9113 section 3.4). */
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\n');
/** Pipelined bytes held while a reply is due. */
const UNREAD_MAX = 64 * 1024;

/** Reasons not to read from the client; any one holds. */
export const BLOCKED_BY_FUNCTION = 1;
const BLOCKED_BY_PIPELINE = 2;

export class ClientConnection {
  readonly socket: ClientSocket;
  readonly out = new Outbox();
  /** Where the client is. */
  readonly origin: ClientOrigin;
  /** Lines for the head of the reply under way that a policy adds, whoever makes the reply. */
  replyFields = '';
  /** The function has no say in which pages may read its reply. */
  decidesCors = false;
  readonly #door: Door;
  readonly #owner: ConnectionOwner;
  readonly #body = new BodyScanner();
  #exchange: Exchange | undefined;
  #head: RequestHead | undefined;
  #requestId = '';
  #unread: Buffer | undefined;
  /** The request's body is not complete. */
  #receiving = false;
  #replyStarted = false;
  #tunnelling = false;
  /** The reply under way has said that nothing follows it. */
  #isLast = false;
  #processing = false;
  #closing = false;
  /** Nothing was read of it yet. */
  #isNew = true;
  #blocked = 0;
  /** Bytes of the last reply that were not written at the last sweep. */
  #left = 0;
  /** Start of what the connection is in: idle, a head, a wait for more body, a goodbye. */
  #since: Millis;

  constructor(socket: ClientSocket, door: Door, owner: ConnectionOwner) {
    this.socket = socket;
    this.#door = door;
    this.#owner = owner;
    this.#since = performance.now();
    this.origin = new ClientOrigin(socket.remoteAddress, door.scheme, owner.proxies);
    for (const [event, listener] of Object.entries(this.#listeners)) socket.on(event, listener);
  }

  readonly #listeners = {
    data: (chunk: Buffer): void => this.#read(chunk),
    drain: (): void => this.#drain(),
    end: (): void => this.#gone(),
    error: (): void => {}, // 'close' follows.
    close: (): void => {
      this.#gone();
      this.#owner.closed(this);
    },
  };

  /** It came over the internal socket. */
  get trusted(): boolean {
    return this.#door.trusted;
  }

  /** The Connection field of the reply under way: whether this connection goes on after it, which is decided here. A client
   *  that was not told may send its next request at any moment. */
  get connectionField(): string {
    const head = this.#head;
    this.#isLast = !head || !head.keepAlive || this.#owner.draining;
    if (this.#isLast) return 'connection: close\r\n';
    return head?.http10 ? 'connection: keep-alive\r\n' : '';
  }

  get bodyIncomplete(): boolean {
    return this.#receiving;
  }

  /** Writes what the outbox holds; false when the client should be given time. `isReply`: a final reply's head is in it, so
   *  that from now on errors can no longer be told. */
  flush(isReply: boolean): boolean {
    this.#replyStarted = isReply;
    return this.out.flush(this.socket);
  }

  /** Stops and resumes reading from the client. */
  block(reason: number, on: boolean): void {
    const before = this.#blocked;
    this.#blocked = on ? before | reason : before & ~reason;
    if (before === 0 && this.#blocked !== 0) this.socket.pause();
    else if (before !== 0 && this.#blocked === 0) {
      this.#since = performance.now();
      this.socket.resume();
    }
  }

  /** The bytes after this are not HTTP. */
  upgrade(): void {
    this.#tunnelling = true;
    if (this.#unread) {
      const rest = this.#unread;
      this.#unread = undefined;
      this.block(BLOCKED_BY_PIPELINE, false);
      this.#exchange?.tunnel(rest);
    }
  }

  /** The whole reply, when no exchange streams it. */
  reply(reply: PlainReply, fields = ''): void {
    const close = this.#receiving || this.connectionField === 'connection: close\r\n';
    const field = fields + this.replyFields + (close ? 'connection: close\r\n' : this.connectionField);
    this.socket.write(renderReply(reply, this.#requestId, field, this.#head?.method !== 'HEAD'));
    this.#finish(close);
  }

  /** The problem, or a reset when a reply has begun: nobody may take half a reply for a whole one. @param fields further
   *  ones, each with CRLF. */
  fail(error: FnError, fields = ''): void {
    this.out.clear();
    if (this.#replyStarted) this.cut();
    else this.reply(problemReply(error, this.#requestId), fields);
  }

  /** Ends the connection so that what came of a reply cannot look whole. */
  cut(): void {
    this.#door.cut(this.socket);
  }

  /** The streamed reply is complete and flushed. `last`: only the end of the connection can say so. */
  done(last = false): void {
    this.#finish(last || this.#isLast || !this.#head?.keepAlive || this.#receiving);
  }

  /** While the gateway ends: closes the connection if it has been idle for so long; if not, its next reply does. */
  drain(now: Millis, idle: Millis): void {
    if (!this.#exchange && !this.#unread && !this.#closing && now - this.#since > idle) this.#close();
  }

  /** It carries another protocol, which may go on for ever. */
  get isTunnel(): boolean {
    return this.#tunnelling;
  }

  /** Makes room for others: ends a connection that waits for its client, and did not begin just now. */
  evict(now: Millis): boolean {
    if (this.#door.trusted || this.#exchange || this.socket.writableLength > 0) return false;
    if (now - this.#since < EVICT_AFTER) return false;
    this.socket.destroy();
    return true;
  }

  /** Ends what takes too long; called now and then. */
  sweep(now: Millis): void {
    const { head, idle, body, linger } = this.#owner.patience;
    const age = now - this.#since;
    if (this.#closing) {
      const left = this.socket.writableLength;
      if (left !== this.#left) {
        this.#left = left;
        this.#since = now; // The end of a reply moves: a slow client may take its time.
      } else if (age > (left > 0 ? body : linger)) this.socket.destroy();
    } else if (this.#exchange) {
      if (this.#receiving && this.#blocked === 0 && age > body) {
        this.#refuse(new FnError('request.timeout', `no byte of the body came for ${body} ms`));
      }
    } else if (this.#unread) {
      if (age > head) this.#refuse(new FnError('request.timeout', `the head was not complete after ${head} ms`));
    } else if (age > idle) this.#close();
  }

  #read(chunk: Buffer): void {
    if (this.#closing) return; // Read to let the client see our goodbye; not looked at.
    if (this.#tunnelling) {
      this.#exchange?.tunnel(chunk);
      return;
    }
    let buffer = chunk;
    if (this.#unread) {
      buffer = Buffer.concat([this.#unread, chunk]);
      this.#unread = undefined;
    } else if (!this.#exchange) this.#since = performance.now();
    this.#process(buffer);
  }

  /** Reads requests until bytes run out or a reply must come first. */
  #process(buffer: Buffer): void {
    this.#processing = true;
    try {
      let at = 0;
      while (at < buffer.length && !this.#closing) {
        if (this.#receiving) {
          const isAllBody = at === 0;
          at = this.#takeBody(buffer, at);
          this.#since = performance.now();
          const isWritten = this.#exchange?.bodyFlush() ?? true;
          if (isWritten && isAllBody && at === buffer.length) free(buffer);
        } else if (this.#exchange) {
          this.#keepUnread(buffer, at);
          return;
        } else if (this.socket.writableNeedDrain) {
          this.#keepUnread(buffer, at);
          return;
        } else {
          const next = this.#takeHead(buffer, at);
          if (next === at) return;
          at = next;
        }
      }
    } catch (error) {
      // A request we choke on by our own fault is `internal`, and must not end everyone else's connection too.
      this.#refuse(toFnError(error));
    } finally {
      this.#processing = false;
    }
  }

  #keepUnread(buffer: Buffer, at: number): void {
    this.#unread = buffer.subarray(at);
    if (this.#unread.length > UNREAD_MAX) this.block(BLOCKED_BY_PIPELINE, true);
  }

  /** Returns where it stopped: at `at` when the head is not complete. */
  #takeHead(buffer: Buffer, at: number): number {
    this.#head = undefined;
    this.#requestId = '';
    this.#replyStarted = false;
    this.replyFields = '';
    this.decidesCors = false;
    let start = at;
    // RFC 9112 2.2: one empty line before a request is let pass.
    if (buffer[start] === 13 && buffer[start + 1] === 10) start += 2;
    const end = buffer.indexOf(HEAD_END, start);
    if (end < 0 || end - start > HEAD_MAX) {
      checkPartialHead(buffer, start);
      this.#unread = buffer.subarray(at);
      return at;
    }
    if (this.#isNew) {
      this.#isNew = false;
      if (this.#door.http2 && buffer.subarray(start, end + 4).equals(HTTP2_PREFACE)) {
        this.#handOver(buffer.subarray(start));
        return buffer.length;
      }
    }
    const head = parseRequestHead(latin1(buffer, start, end + 2), this.#door.trusted, this.origin.isProxied);
    this.origin.begin(head.proxyFields);
    const requestId = head.requestId === undefined ? randomHex(24) : requestIdFrom(head.requestId);
    this.#head = head;
    this.#requestId = requestId;
    if (head.contentLength > this.#owner.bodyLimit) this.#receiving = true;
    else if (head.chunked) this.#body.beginChunked();
    else this.#body.beginLength(Math.max(0, head.contentLength));
    if (head.contentLength > this.#owner.bodyLimit) throw this.#tooLarge();
    this.#receiving = !this.#body.done;
    this.#exchange = this.#owner.open(this, head, requestId);
    let next = end + 4;
    if (this.#receiving && next < buffer.length) next = this.#takeBody(buffer, next);
    this.#since = performance.now();
    this.#exchange?.begin();
    return next;
  }

  /** It is a connection of HTTP/2 from its first byte on, and no longer ours. */
  #handOver(first: Buffer): void {
    this.#closing = true;
    for (const [event, listener] of Object.entries(this.#listeners)) this.socket.off(event, listener);
    this.#owner.closed(this);
    this.#door.http2?.(this.socket, first);
  }

  #takeBody(buffer: Buffer, at: number): number {
    const body = this.#body;
    while (at < buffer.length && !body.done) {
      at = body.next(buffer, at, buffer.length);
      if (at < 0) throw refuse(`the body is malformed: ${body.problem}`);
      if (body.total > this.#owner.bodyLimit) throw this.#tooLarge();
      if (body.end > body.start) this.#exchange?.body(buffer, body.start, body.end);
    }
    if (body.done) {
      this.#receiving = false;
      this.#exchange?.bodyEnd(body.trailers);
    }
    return at;
  }

  #tooLarge(): FnError {
    return new FnError('body.too_large', `the body is over ${this.#owner.bodyLimit} bytes`);
  }

  /** The request cannot be answered by anyone. What cannot be read on ends the connection. */
  #refuse(error: FnError): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.cancel();
    this.#owner.refused(error);
    if (this.#requestId === '') this.#requestId = randomHex(24);
    const fatal = this.#head === undefined || this.#receiving || exchange !== undefined;
    if (fatal) this.#receiving = true;
    this.fail(error);
  }

  #finish(close: boolean): void {
    this.#exchange = undefined;
    this.#replyStarted = false;
    this.#since = performance.now();
    if (close) {
      this.#close();
      return;
    }
    this.block(BLOCKED_BY_FUNCTION, false);
    this.#resumePipeline();
  }

  #resumePipeline(): void {
    if (!this.#unread || this.#processing || this.#exchange || this.#closing || this.socket.writableNeedDrain) return;
    const unread = this.#unread;
    this.#unread = undefined;
    this.#since = performance.now();
    this.block(BLOCKED_BY_PIPELINE, false);
    this.#process(unread);
  }

  #drain(): void {
    if (this.#exchange) this.#exchange.clientDrain();
    else this.#resumePipeline();
  }

  #close(): void {
    this.#closing = true;
    this.#unread = undefined;
    this.#since = performance.now();
    this.socket.end();
    this.#blocked = 0;
    this.socket.resume();
  }

  #gone(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.cancel();
    if (this.socket.destroyed) return;
    if (this.#closing) this.socket.destroySoon();
    else this.socket.destroy();
  }
}
