/** HTTP requests to a sandbox's unix socket, one after the other over one connection. What answers may already be foreign
 *  code: a reply is bounded in size and time, and must be a JSON object whose length is said in advance. Written on a bare
 *  socket: every cold start waits for a claim, and node's client takes 1–2 ms for it when it has not run for a while. */

import { connect, type Socket } from 'node:net';
import { WORKER_FIELD } from '../../core/control.ts';
import type { Bytes, Millis } from '../../core/units.ts';

const REPLY_LIMIT: Bytes = 64 * 1024;

export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

interface Waiting {
  readonly limit: Bytes;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** Any error ends the line; so does a sandbox that ends, whether or not it has accepted the connection. One request at a time. */
export class Line implements Disposable {
  readonly #socket: Socket;
  #received: Buffer | undefined;
  #waiting: Waiting | undefined;
  #error: Error | undefined;

  constructor(socketPath: string) {
    this.#socket = connect({ path: socketPath });
    this.#socket.on('data', (chunk) => this.#read(chunk));
    this.#socket.on('error', (error) => (this.#error = error)); // 'close' follows.
    this.#socket.on('close', () => {
      this.#settle()?.reject(this.#error ?? new Error('the connection was closed before the reply was complete'));
    });
  }

  get open(): boolean {
    return !this.#socket.destroyed;
  }

  /** Rejects with the connection's error, a TimeoutError, or an Error that says what was wrong with the reply.
   *  @param limit of the reply, head and body. */
  ask(method: string, path: string, body: unknown, timeout: Millis, limit: Bytes = REPLY_LIMIT): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (!this.open) throw this.#error ?? new Error('the connection is closed');
      const timer = setTimeout(() => this.#socket.destroy(new TimeoutError(timeout)), Math.ceil(timeout));
      this.#waiting = { limit, resolve, reject, timer };
      const json = body === undefined ? '' : JSON.stringify(body);
      const head =
        `${method} ${path} HTTP/1.1\r\nhost: sandbox\r\n${WORKER_FIELD}: 1\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(json)}\r\n\r\n`;
      this.#socket.write(head + json);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    if (!this.#waiting) {
      this.#socket.destroy(); // A reply to nothing.
      return;
    }
    const received = this.#received ? Buffer.concat([this.#received, chunk]) : chunk;
    try {
      const reply = replyIn(received, this.#waiting.limit);
      this.#received = reply ? undefined : received;
      if (reply) this.#settle()?.resolve(reply);
    } catch (error) {
      this.#socket.destroy(error as Error);
    }
  }

  #settle(): Waiting | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    clearTimeout(waiting?.timer);
    return waiting;
  }
}

/** The reply, once it is complete. */
function replyIn(received: Buffer, limit: Bytes): Reply | undefined {
  if (received.length > limit) throw new Error(`the reply is over ${limit} bytes`);
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = received.toString('latin1', 0, end);
  const status = /^HTTP\/1\.1 (\d{3})(?: |$)/m.exec(head)?.[1];
  const length = /^content-length: *(\d+) *$/im.exec(head)?.[1];
  if (status === undefined || length === undefined)
    throw new Error('the reply is not HTTP, or does not say its length');
  const bytes = received.subarray(end + 4);
  if (bytes.length < Number(length)) return undefined;
  if (bytes.length > Number(length)) throw new Error('the reply is longer than it says');
  try {
    const body: unknown = JSON.parse(bytes.toString('utf8') || '{}');
    if (typeof body !== 'object' || body === null) throw new Error('not an object');
    return { status: Number(status), body: body as Record<string, unknown> };
  } catch (cause) {
    throw new Error('the reply is not a JSON object', { cause });
  }
}

export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';

  constructor(after: Millis) {
    super(`no reply within ${after} ms`);
  }
}
