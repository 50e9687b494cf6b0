/** One HTTP request over a fresh connection, timed on a bare socket: a client library would add its own milliseconds to the
 *  few that are measured. */

import { connect, type NetConnectOpts } from 'node:net';
import type { Millis } from '../../core/units.ts';

export interface Timed {
  /** From the wish to the connection. */
  readonly connect: Millis;
  /** From the wish to the first byte of the reply. */
  readonly first: Millis;
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

const GIVE_UP: Millis = 60_000;

/** Rejects with the connection's error, or when nothing came within a minute. */
export function call(to: NetConnectOpts, path: string): Promise<Timed> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    let connected = 0;
    let first = 0;
    let text = '';
    const socket = connect({ ...to, noDelay: true });
    socket.setTimeout(GIVE_UP, () => socket.destroy(new Error(`no reply from ${path} within ${GIVE_UP} ms`)));
    socket.once('connect', () => {
      connected = performance.now();
      socket.write(`GET ${path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      first ||= performance.now();
      text += chunk.toString('latin1');
    });
    socket.once('error', reject);
    socket.once('close', () => {
      const end = text.indexOf('\r\n\r\n');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
      if (end < 0) reject(new Error(`no reply from ${path}`));
      else {
        const [head, body] = [text.slice(0, end), text.slice(end + 4)];
        resolve({ connect: connected - began, first: first - began, status, head, body });
      }
    });
  });
}

/** `claimed;ms=3.1` → kind and time. */
export function startOf({ head }: Timed): { kind: string; ms: Millis } {
  const [, kind = 'none', ms = '0'] = /^x-fn-start: (\w+);ms=([\d.]+)/m.exec(head) ?? [];
  return { kind, ms: Number(ms) };
}

/** Asks again and again until somebody answers 200; resolves with the time since `began` (monotonic). */
export async function untilAnswered(to: NetConnectOpts, began: Millis, alive: () => boolean): Promise<Millis> {
  for (;;) {
    const reply = await call(to, '/').catch(() => undefined); // Nobody listens yet.
    if (reply?.status === 200) return performance.now() - began;
    if (!alive()) throw new Error('it ended before it answered');
    if (performance.now() - began > GIVE_UP) throw new Error(`no answer within ${GIVE_UP} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
