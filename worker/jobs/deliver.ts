/** One HTTP request to this node's gateway over its internal unix socket, so that a job shares slots, waiting room and cold
 *  starts with everybody else's requests. Bounded in time and in the size of the answer. */

import { Agent, request } from 'node:http';
import { sleep } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import { type Bytes, formatBytes, formatDuration, type Millis } from '../../core/units.ts';
import type { Outcome } from './settle.ts';

export interface Delivery {
  readonly method: string;
  /** Path and query at the gateway. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Ends the request; the invocation's own timeout is kept by the gateway. */
  readonly deadline: Millis;
  readonly resultLimit: Bytes;
}

/** A gateway that is restarting is back within this time; so long a job waits in place and keeps its turn. */
const GATEWAY_BACK_WITHIN: Millis = 10_000;
const TRY_EVERY: Millis = 200;
const REFUSED = ['ECONNREFUSED', 'ENOENT', 'EAGAIN'];

export class Deliverer implements Disposable {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: 32, timeout: 30_000 });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Rejects only with the signal's reason. */
  async deliver(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    const end = performance.now() + GATEWAY_BACK_WITHIN;
    for (;;) {
      const outcome = await this.#once(delivery, signal);
      signal.throwIfAborted();
      if (outcome.kind !== 'unreachable' || performance.now() > end) return outcome;
      await sleep(TRY_EVERY, signal);
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #once(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    const { method, path, headers, body, deadline, resultLimit } = delivery;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    let late = false;
    const fail = (error: NodeJS.ErrnoException): void => {
      if (REFUSED.includes(error.code ?? '')) return resolve({ kind: 'unreachable' });
      const known = late
        ? new FnError('function.timeout', `no answer within ${formatDuration(deadline)}`)
        : new FnError('process.down', `the connection to the gateway broke (${error.code ?? error.message})`);
      resolve({ kind: 'failed', problem: known.toProblem({ component: 'worker' }) });
    };
    const outgoing = request(
      {
        socketPath: this.#socketPath,
        agent: this.#agent,
        method,
        path,
        headers: { ...headers, host: 'fn.internal', 'content-length': body.length },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        let size = 0;
        incoming.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > resultLimit) {
            resolve({ kind: 'reply', reply: tooLarge(resultLimit) });
            incoming.destroy();
          } else chunks.push(chunk);
        });
        incoming.on('end', () => {
          const status = incoming.statusCode ?? 0;
          resolve({
            kind: 'reply',
            reply: { status, headers: flatten(incoming.headers), body: Buffer.concat(chunks) },
          });
        });
        incoming.on('error', fail);
      },
    );
    outgoing.on('error', fail);
    const cancel = (): void => void outgoing.destroy(new Error('cancelled'));
    const timer = setTimeout(() => {
      late = true;
      cancel();
    }, deadline);
    signal.addEventListener('abort', cancel, { once: true });
    outgoing.end(body);
    return promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
    });
  }
}

/** Settles like an answer the platform made: the same function would answer too much again. */
function tooLarge(limit: Bytes): { status: number; headers: Record<string, string>; body: Buffer } {
  const error = new FnError('body.too_large', `the function answered more than ${formatBytes(limit)}`, {
    hint: 'Keep results small, or raise FN_RESULT_LIMIT.',
  });
  return {
    status: error.status,
    headers: { 'x-fn-error': error.code },
    body: Buffer.from(JSON.stringify(error.toProblem({ component: 'worker' }))),
  };
}

const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'];

function flatten(headers: NodeJS.Dict<string | string[]>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined || HOP_BY_HOP.includes(name) ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  );
}
