/** One HTTP request to a sandbox's unix socket. What answers may already be foreign code: the reply is bounded in size and
 *  time, and must be a JSON object whose length is said in advance. Written on a bare socket: every cold start waits for
 *  this call, and node's client takes 1–2 ms for it when it has not run for a while. */

import { connect } from 'node:net';
import type { Bytes, Millis } from '../../core/units.ts';

const REPLY_LIMIT: Bytes = 64 * 1024;

export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Rejects with the connection's error, a TimeoutError, or an Error that says what was wrong with the reply. A sandbox that
 *  ends takes its connections, and those it has not accepted yet, with it. */
export function ask(socketPath: string, method: string, path: string, body: unknown, timeout: Millis): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? '' : JSON.stringify(body);
    const socket = connect({ path: socketPath });
    const timer = setTimeout(() => socket.destroy(new TimeoutError(timeout)), Math.ceil(timeout));
    let received: Buffer | undefined;
    socket.on('data', (chunk) => {
      received = received ? Buffer.concat([received, chunk]) : chunk;
      try {
        const reply = replyIn(received);
        if (!reply) return;
        resolve(reply);
        socket.destroy();
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      reject(new Error('the connection was closed before the reply was complete'));
    });
    socket.write(
      `${method} ${path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`,
    );
  });
}

/** The reply, once it is complete. */
function replyIn(received: Buffer): Reply | undefined {
  if (received.length > REPLY_LIMIT) throw new Error(`the reply is over ${REPLY_LIMIT} bytes`);
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = received.toString('latin1', 0, end);
  const status = /^HTTP\/1\.1 (\d{3})(?: |$)/m.exec(head)?.[1];
  const length = /^content-length: *(\d+) *$/im.exec(head)?.[1];
  if (status === undefined || length === undefined)
    throw new Error('the reply is not HTTP, or does not say its length');
  const bytes = received.subarray(end + 4);
  if (bytes.length < Number(length)) return undefined;
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
