/** One client's connection: requests come off it one after the other, replies go onto it in the same order. It reads heads
 *  and bodies strictly, feeds the body to whatever answers the request (an Exchange), and keeps every wait bounded: a head
 *  that dawdles, a body that stops, a reply nobody reads, an idle connection. While a reply is due it keeps reading, which
 *  is how it learns that the client has gone. */

import type { Duplex } from 'node:stream';
import { type AddressSet, plainAddress } from '../core/addresses.ts';
import { FnError, toFnError } from '../core/errors.ts';
import { requestIdFrom } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';
import { forwardedFields } from './heads.ts';
import { type Origin, originOf, type Scheme } from './origin.ts';
import { BodyScanner } from './http/body.ts';
import { free } from './http/free.ts';
import { HEAD_END } from './http/fields.ts';
import { Outbox } from './http/outbox.ts';
import { HEAD_MAX, parseRequestHead, refuse, type RequestHead } from './http/parse-request.ts';
import { randomHex } from './http/random-ids.ts';
import { type PlainReply, problemReply, renderReply } from './http/write.ts';
import { latin1 } from './http/latin1.ts';

/** Answers one request. Calls follow this order: body*, bodyEnd?, begin, (body*, bodyEnd?, bodyFlush)*. */
export interface Exchange {
  /** A piece of the body; valid as long as the buffer is. */
  body(buffer: Buffer, start: number, end: number): void;
  bodyEnd(trailers: string): void;
  /** What came with the head has been handed over: answer. */
  begin(): void;
  /** What arrived together has been handed over. True when nothing of its buffer is held any more. */
  bodyFlush(): boolean;
  /** The client takes bytes again. */
  clientDrain(): void;
  /** After an upgrade: bytes of the other protocol. */
  tunnel(chunk: Buffer): void;
  /** The client has gone, or its body turned out malformed: nobody waits for a reply. */
  cancel(): void;
}

/** A TCP or unix socket, one with TLS on it, or one stream of HTTP/2 that speaks HTTP/1.1 to us. */
export interface ClientSocket extends Duplex {
  readonly remoteAddress?: string | undefined;
  destroySoon(): void;
}

/** By which way clients come in. */
export interface Door {
  /** Its clients are the platform's own processes. */
  readonly trusted: boolean;
  readonly scheme: Scheme;
  /** Ends a connection so that what came of a reply cannot look whole. */
  cut(socket: ClientSocket): void;
  /** Takes over a connection whose client begins with the preface of HTTP/2; absent where that is not spoken. */
  http2?(socket: ClientSocket, first: Buffer): void;
}

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

/** How long a client may take. */
export interface ClientPatience {
  /** From the first byte of a head to its end. */
  readonly head: Millis;
  /** Between requests. */
  readonly idle: Millis;
  /** Without a byte of a body that is being waited for. */
  readonly body: Millis;
  /** To close its side after we have closed ours: closing with bytes of it unread would reset the connection, and lose the
   *  reply on its way. */
  readonly linger: Millis;
}
export const CLIENT_PATIENCE: ClientPatience = { head: 10_000, idle: 75_000, body: 30_000, linger: 2000 };
/** Without a request for this long, a connection is there for others to take. */
export const EVICT_AFTER: Millis = 1000;
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
  /** Lines for the head of the reply under way that a policy adds, whoever makes the reply. */
  replyFields = '';
  /** The function has no say in which pages may read its reply. */
  decidesCors = false;
  readonly #door: Door;
  readonly #owner: ConnectionOwner;
  readonly #peer: string;
  /** Set when the peer is one of our proxies. */
  readonly #proxies: AddressSet | undefined;
  /** Where the request under way came from, as our proxies say. */
  #origin: Origin | undefined;
  /** Fields about the client, and the Host they were made for. */
  #forwarded = '';
  #forwardedHost: string | undefined;
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
    this.#peer = plainAddress(socket.remoteAddress ?? '');
    if (owner.proxies?.has(this.#peer)) this.#proxies = owner.proxies;
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

  /** Where the client is; empty when it came over a unix socket. */
  get address(): string {
    return this.#origin?.address ?? this.#peer;
  }

  /** The fields that tell a function who its client is; made once for a connection and a Host, or for each request of a
   *  proxy. */
  forwardedFor(host: string): string {
    if (this.#origin) {
      const { address, scheme = this.#door.scheme, host: asked = host } = this.#origin;
      return forwardedFields(address, asked, scheme);
    }
    if (this.#forwardedHost !== host) {
      this.#forwardedHost = host;
      this.#forwarded = forwardedFields(this.address, host, this.#door.scheme);
    }
    return this.#forwarded;
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
  reply(reply: PlainReply): void {
    const close = this.#receiving || this.connectionField === 'connection: close\r\n';
    const field = this.replyFields + (close ? 'connection: close\r\n' : this.connectionField);
    this.socket.write(renderReply(reply, this.#requestId, field, this.#head?.method !== 'HEAD'));
    this.#finish(close);
  }

  /** The problem, or a reset when a reply has begun: nobody may take half a reply for a whole one. */
  fail(error: FnError): void {
    this.out.clear();
    if (this.#replyStarted) this.cut();
    else this.reply(problemReply(error, this.#requestId));
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
    const proxies = this.#proxies;
    const head = parseRequestHead(latin1(buffer, start, end + 2), this.#door.trusted, proxies !== undefined);
    if (proxies) this.#origin = originOf(this.#peer, head.proxyFields, proxies);
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

/** Refuses early what can no longer become a head. */
function checkPartialHead(buffer: Buffer, start: number): void {
  const text = latin1(buffer, start, Math.min(buffer.length, start + HEAD_MAX));
  if (text.length >= HEAD_MAX) {
    throw new FnError('request.head_too_large', `the head is over ${HEAD_MAX} bytes`);
  }
  if (text !== '' && !/^[A-Z\r]/.test(text)) throw refuse('this is not HTTP/1.1');
  if (/(?:^|[^\r])\n/.test(text)) throw refuse('a line ends in LF without CR');
}
