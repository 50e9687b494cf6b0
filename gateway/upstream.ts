/** One connection to an instance, and the idle ones kept for the next request. It reads replies strictly, hands them over
 *  piece by piece as they arrive, and never reads faster than the client takes them. */

import { connect, type Socket } from 'node:net';
import { BodyScanner } from './http/body.ts';
import { HEAD_END } from './http/fields.ts';
import { BadReply, parseReplyHead, type ReplyHead, REPLY_HEAD_MAX } from './http/parse-reply.ts';
import type { Millis } from '../core/units.ts';
import { latin1 } from './http/latin1.ts';

/** What a request in flight hears from its connection. */
export interface ReplySink {
  /** 1xx other than 101. */
  onInterim(head: ReplyHead): void;
  onReply(head: ReplyHead): void;
  /** The connection now carries another protocol. */
  onUpgrade(head: ReplyHead): void;
  /** The buffer is only lent. */
  onPayload(buffer: Buffer, start: number, end: number): void;
  /** The reply is complete. `reusable`: the connection can take another request. */
  onComplete(trailers: string, reusable: boolean): void;
  /** Everything that arrived together has been handed over. */
  onFlush(): void;
  /** Writing may go on. */
  onDrain(): void;
  /** No more will come. `unsent`: provably no byte of the request reached the instance. */
  onBroken(error: Error, unsent: boolean): void;
  onDeadline(): void;
}

/** node's own server closes an idle connection after 5 s; we stop using one before that. */
const IDLE_MAX: Millis = 4000;
/** A unix socket takes a write of this size whole or not at all, so EPIPE on it means that nothing was taken. */
const ATOMIC_WRITE = 32 * 1024;
/** Time an instance has to notice that the client has gone, at least. */
const SETTLE_MIN: Millis = 1000;

/** Every upstream reads into this one: what it holds is handed over, and copied where it must stay, before the next read.
 *  A buffer made for each read costs a microsecond, and garbage. */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

type Mode = 'idle' | 'head' | 'body' | 'tunnel' | 'settling' | 'closed';

export class Upstream {
  readonly socket: Socket;
  #sink: ReplySink | undefined;
  #mode: Mode = 'idle';
  #connected = false;
  #headOnly = false;
  #upgrading = false;
  #keep = false;
  #written = 0;
  #partial: Buffer | undefined;
  readonly #body = new BodyScanner();
  #error: NodeJS.ErrnoException | undefined;
  #idleSince: Millis = 0;
  #idleMax = IDLE_MAX;
  #deadline: Millis = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt: Millis = 0;
  #settled: ((inTime: boolean) => void) | undefined;

  constructor(path: string) {
    const socket = connect({ path, onread: { buffer: READ_BUFFER, callback: (bytes) => this.#read(bytes) } });
    this.socket = socket;
    socket.on('connect', () => void (this.#connected = true));
    socket.on('drain', () => this.#sink?.onDrain());
    socket.on('error', (error) => void (this.#error = error)); // 'close' follows.
    socket.on('end', () => this.#ended());
    socket.on('close', () => this.#closed());
  }

  usable(now: Millis): boolean {
    return this.#mode === 'idle' && now - this.#idleSince < this.#idleMax;
  }

  /** Takes a request: the next `flush` of bytes is its head. */
  begin(sink: ReplySink, headOnly: boolean, upgrading: boolean): void {
    this.#sink = sink;
    this.#mode = 'head';
    this.#headOnly = headOnly;
    this.#upgrading = upgrading;
    this.#written = this.socket.bytesWritten;
  }

  /** Gives the connection back: the reply and the request are complete. */
  rest(now: Millis): void {
    this.#sink = undefined;
    this.#idleSince = now;
  }

  /** Calls the sink's `onDeadline` at that time (monotonic). The timer is set once and looks again when it rings, which
   *  costs a request nothing. */
  arm(at: Millis, now: Millis): void {
    this.#deadline = at;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(this.#ring, Math.max(1, at - now));
  }

  /** The request is given up (its client has gone). Half-closes, which tells the instance; the slot counts as taken until
   *  the instance has closed its half too. `settled(false)`: it did not by its deadline. */
  abandon(settled: (inTime: boolean) => void): void {
    this.#sink = undefined;
    if (this.#mode === 'closed') {
      settled(true);
      return;
    }
    this.#mode = 'settling';
    this.#settled = settled;
    const now = performance.now();
    this.arm(Math.max(this.#deadline, now + SETTLE_MIN), now);
    this.socket.resume();
    this.socket.end();
  }

  destroy(): void {
    this.#sink = undefined;
    this.#mode = 'closed';
    this.socket.destroy();
  }

  readonly #ring = (): void => {
    this.#timer = undefined;
    if (this.#mode === 'closed' || (!this.#sink && !this.#settled)) return;
    const now = performance.now();
    if (now < this.#deadline) this.arm(this.#deadline, now);
    else if (this.#sink) this.#sink.onDeadline();
    else this.#settle(false);
  };

  #settle(inTime: boolean): void {
    const settled = this.#settled;
    this.#settled = undefined;
    this.destroy();
    settled?.(inTime);
  }

  /** Returns true: go on reading. */
  #read(bytes: number): boolean {
    const sink = this.#sink;
    try {
      if (this.#partial) {
        const buffer = Buffer.concat([this.#partial, READ_BUFFER.subarray(0, bytes)]);
        this.#partial = undefined;
        this.#take(buffer, buffer.length);
      } else this.#take(READ_BUFFER, bytes);
    } catch (error) {
      // A reply we choke on by our own fault ends as `internal`, and must not end everyone else's invocation too.
      this.#fail(error as Error, false);
      return true;
    }
    sink?.onFlush();
    return true;
  }

  #take(buffer: Buffer, length: number): void {
    let at = 0;
    while (at < length) {
      switch (this.#mode) {
        case 'head':
          at = this.#takeHead(buffer, at, length);
          break;
        case 'body':
          at = this.#takeBody(buffer, at, length);
          break;
        case 'tunnel':
          this.#sink?.onPayload(buffer, at, length);
          return;
        case 'idle': // A reply to nothing: the connection is of no more use.
          this.destroy();
          return;
        case 'settling':
        case 'closed':
          return;
      }
    }
  }

  #takeHead(buffer: Buffer, at: number, length: number): number {
    const end = buffer.indexOf(HEAD_END, at);
    if (end < 0 || end + 4 > length) {
      if (length - at > REPLY_HEAD_MAX) throw new BadReply('its head is too long');
      if (/(?:^|[^\r])\n/.test(latin1(buffer, at, length))) throw new BadReply('a bare LF in its head');
      this.#partial = Buffer.from(buffer.subarray(at, length));
      return length;
    }
    const head = parseReplyHead(latin1(buffer, at, end + 2));
    if (head.status < 200) {
      if (head.status !== 101) this.#sink?.onInterim(head);
      else if (!this.#upgrading || head.upgrade.toLowerCase() !== 'websocket') {
        throw new BadReply('it switches protocols without being asked');
      } else {
        this.#mode = 'tunnel';
        this.#keep = false;
        this.#sink?.onUpgrade(head);
      }
      return end + 4;
    }
    this.#keep = head.keepAlive;
    if (head.idleSeconds > 0) this.#idleMax = Math.min(60, head.idleSeconds - 0.8) * 1000;
    this.#mode = 'body';
    if (this.#headOnly || head.status === 204 || head.status === 304) this.#body.beginLength(0);
    else if (head.chunked) this.#body.beginChunked();
    else this.#body.beginLength(head.contentLength);
    this.#sink?.onReply(head);
    if (this.#body.done) this.#complete(end + 4 === length);
    return end + 4;
  }

  #takeBody(buffer: Buffer, at: number, length: number): number {
    const body = this.#body;
    const next = body.next(buffer, at, length);
    if (next < 0) throw new BadReply(body.problem);
    if (body.end > body.start) this.#sink?.onPayload(buffer, body.start, body.end);
    if (body.done) this.#complete(next === length);
    return next;
  }

  #complete(exact: boolean): void {
    this.#mode = 'idle';
    this.#keep = this.#keep && exact && !this.#body.untilClose;
    this.#sink?.onComplete(this.#body.trailers, this.#keep);
  }

  #ended(): void {
    if (this.#mode === 'body' && this.#body.untilClose) {
      const sink = this.#sink;
      this.#keep = false;
      this.#complete(false);
      sink?.onFlush();
    } else if (this.#mode === 'idle') {
      this.destroy();
    }
  }

  #closed(): void {
    clearTimeout(this.#timer);
    const mode = this.#mode;
    this.#mode = 'closed';
    if (mode === 'settling') this.#settle(true);
    else if (mode === 'tunnel') this.#sink?.onComplete('', false);
    else if (mode === 'head' || mode === 'body') {
      this.#fail(this.#error ?? new Error('the instance closed the connection'), this.#isUnsent(mode));
    }
  }

  /** Nothing was sent when there never was a connection, or when its first write was refused as a whole. */
  #isUnsent(mode: Mode): boolean {
    if (!this.#connected) return true;
    const code = this.#error?.code;
    return mode === 'head' && code === 'EPIPE' && this.socket.bytesWritten - this.#written <= ATOMIC_WRITE;
  }

  #fail(error: Error, unsent: boolean): void {
    const sink = this.#sink;
    this.destroy();
    sink?.onBroken(error, unsent);
  }
}

/** The idle connections of one instance, the most recently used first. */
export class UpstreamPool {
  readonly #path: string;
  #idle: Upstream[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  take(now: Millis): Upstream {
    for (let one = this.#idle.pop(); one; one = this.#idle.pop()) {
      if (one.usable(now)) return one;
      one.destroy();
    }
    return new Upstream(this.#path);
  }

  /** @param max idle connections to keep. */
  give(upstream: Upstream, now: Millis, max: number): void {
    upstream.rest(now);
    if (this.#idle.length < max) this.#idle.push(upstream);
    else upstream.destroy();
  }

  close(): void {
    for (const one of this.#idle) one.destroy();
    this.#idle = [];
  }
}
