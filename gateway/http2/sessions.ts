/** HTTP/2 (RFC 9113), which node:http2 speaks; each stream goes on as the socket of a request (stream-socket.ts). Clients come
 *  here by ALPN, or in cleartext by prior knowledge; the Upgrade of HTTP/1.1 to h2c is not taken (RFC 9113 deprecates it, and
 *  it has smuggled requests past proxies).
 *
 *  What one connection can cost is bounded. By us: streams at once, bytes and number of a request's fields, memory, idle time.
 *  By nghttp2: resets (CVE-2023-44487), invalid frames that make us reset (CVE-2025-8671), CONTINUATION frames
 *  (CVE-2024-28182), and answers to PING and SETTINGS that nobody reads (CVE-2019-9512, 9515); docs/security.md has the
 *  numbers. */

import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { type FnError, toFnError } from '../../core/errors.ts';
import type { Millis } from '../../core/units.ts';
import { type ClientPatience, EVICT_AFTER } from '../patience.ts';
import { FIELDS_MAX } from '../http/fields.ts';
import { randomHex } from '../http/random-ids.ts';
import { problemReply } from '../http/write.ts';
import { StreamSocket } from './stream-socket.ts';
import { type Http2Request, toHttp1 } from './request.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** Streams at once on one connection: what RFC 9113 section 6.5.2 recommends not to go below. */
const STREAMS_MAX = 100;
/** While the gateway ends, a connection idle for this long is closed; one that was just opened may be used now. */
const DRAIN_IDLE: Millis = 500;
/** For all streams together; each may send 64 KiB that nobody has read. */
const CONNECTION_WINDOW = 2 ** 20;

const OPTIONS = {
  settings: { maxConcurrentStreams: STREAMS_MAX, maxHeaderListSize: 16 * 1024, enablePush: false },
  maxHeaderListPairs: FIELDS_MAX,
  /** MB; above it no stream is added. All of them at once hold less. */
  maxSessionMemory: 32,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  maxOutstandingPings: 10,
  maxSettings: 32,
  /** RST_STREAM frames: so many at once, and so many a second. */
  streamResetBurst: 200,
  streamResetRate: 33,
  // A function may repeat any field of its reply; that is between it and its client.
  strictSingleValueFields: false,
} as const;

export interface Http2Owner {
  readonly patience: ClientPatience;
  /** As many requests as there may be are under way. */
  readonly isFull: boolean;
  /** A stream's request. */
  accept(socket: StreamSocket, scheme: 'http' | 'https'): void;
  refused(error: FnError): void;
}

interface Session {
  readonly http2: ServerHttp2Session;
  streams: number;
  /** When its last stream ended. */
  idleSince: Millis;
}

export class Http2Sessions {
  readonly #owner: Http2Owner;
  readonly #sessions = new Set<Session>();

  constructor(owner: Http2Owner) {
    this.#owner = owner;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** @param first what was read of it already. */
  open(socket: Socket, scheme: 'http' | 'https', first?: Buffer): void {
    const { remoteAddress } = socket;
    socket.on('error', () => {}); // The session hears of it.
    socket.pause();
    if (first) socket.unshift(first);
    const http2 = performServerHandshake(socket, OPTIONS);
    const session: Session = { http2, streams: 0, idleSince: performance.now() };
    this.#sessions.add(session);
    http2.setLocalWindowSize(CONNECTION_WINDOW);
    http2.on('stream', (stream, _headers, flags, raw) => {
      const hasBody = (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0;
      this.#request(session, stream, raw, hasBody, scheme, remoteAddress);
    });
    http2.on('error', () => {}); // 'close' follows.
    http2.on('close', () => void this.#sessions.delete(session));
    socket.on('end', () => http2.destroy()); // Sockets are half-open here; nobody is left to answer.
  }

  /** Ends what takes too long. */
  sweep(now: Millis): void {
    const { idle, linger } = this.#owner.patience;
    for (const { http2, streams, idleSince } of this.#sessions) {
      const age = now - idleSince;
      if (streams > 0 || age <= idle) continue;
      if (age > idle + linger) http2.destroy();
      else if (!http2.closed) http2.close();
    }
  }

  /** While the gateway ends: says so by GOAWAY, which names the last request that is answered. What a client sent after it
   *  was not looked at, and it knows that it may send it again elsewhere. */
  drain(now: Millis): void {
    for (const { http2, streams, idleSince } of this.#sessions) {
      if (!http2.closed && (streams > 0 || now - idleSince > DRAIN_IDLE)) http2.close();
    }
  }

  /** Makes room for others: ends connections without a request, `most` of them; how many. */
  evict(now: Millis, most: number): number {
    let evicted = 0;
    for (const session of this.#sessions) {
      if (evicted === most) break;
      if (session.streams > 0 || now - session.idleSince < EVICT_AFTER) continue;
      this.#sessions.delete(session);
      session.http2.destroy();
      evicted++;
    }
    return evicted;
  }

  destroy(): void {
    for (const { http2 } of this.#sessions) http2.destroy();
  }

  #request(
    session: Session,
    stream: ServerHttp2Stream,
    raw: readonly string[],
    hasBody: boolean,
    scheme: 'http' | 'https',
    remoteAddress: string | undefined,
  ): void {
    session.streams++;
    stream.on('error', () => {}); // 'close' follows.
    stream.on('close', () => {
      session.streams--;
      session.idleSince = performance.now();
    });
    if (stream.destroyed) return;
    if (this.#owner.isFull) {
      stream.close(NGHTTP2_REFUSED_STREAM); // Says that nothing was done: the client may try again.
      return;
    }
    let request: Http2Request;
    try {
      request = toHttp1(raw, hasBody);
    } catch (error) {
      this.#refuse(stream, toFnError(error));
      return;
    }
    this.#owner.accept(new StreamSocket(stream, request, remoteAddress), scheme);
  }

  #refuse(stream: ServerHttp2Stream, error: FnError): void {
    this.#owner.refused(error);
    const requestId = randomHex(24);
    const { status, type, body, headers } = problemReply(error, requestId);
    stream.respond({ ':status': status, 'content-type': type, 'x-request-id': requestId, ...headers });
    stream.on('finish', () => stream.close(NGHTTP2_NO_ERROR));
    stream.end(body);
  }
}
