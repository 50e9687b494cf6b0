/** Calls in both directions over one unix socket: one JSON object a line, `{id, call, in}` and `{id, out}` or
 *  `{id, error}`. Bounded: a line over 1 MiB ends the connection, a call that is not answered in time fails. */

import type { Socket } from 'node:net';
import { FnError, fromProblem, type Problem, toFnError } from './errors.ts';
import { LineSplitter } from './lines.ts';
import type { Millis } from './units.ts';

export type Handlers<C> = {
  readonly [K in keyof C]: C[K] extends { in: infer I; out: infer O } ? (input: I) => O | Promise<O> : never;
};

interface Message {
  readonly id: number;
  readonly call?: string;
  readonly in?: unknown;
  readonly out?: unknown;
  readonly error?: Problem;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

const LINE_LIMIT = 2 ** 20;

/** One end of a connection. `Theirs` are the calls the other side answers, `Ours` those we answer. */
export class RpcPeer<Theirs extends { [K in keyof Theirs]: { in: unknown; out: unknown } }, Ours> {
  readonly #socket: Socket;
  readonly #handlers: Handlers<Ours>;
  readonly #waiting = new Map<number, Waiting>();
  readonly closed: Promise<void>;
  #next = 1;

  constructor(socket: Socket, handlers: Handlers<Ours>) {
    this.#socket = socket;
    this.#handlers = handlers;
    const splitter = new LineSplitter();
    socket.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) void this.#receive(line);
      if (splitter.pending > LINE_LIMIT) socket.destroy(new Error('a line over 1 MiB on the control socket'));
    });
    socket.on('error', () => {}); // 'close' follows and fails what waits.
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    void this.closed.then(() => {
      for (const { reject, timer } of this.#waiting.values()) {
        clearTimeout(timer);
        reject(new FnError('process.down', 'the other side of the control socket went away'));
      }
      this.#waiting.clear();
    });
  }

  /** Rejects with the FnError the other side threw, or `process.down` when it is away or too slow. */
  call<K extends keyof Theirs & string>(name: K, input: Theirs[K]['in'], timeout: Millis): Promise<Theirs[K]['out']> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new FnError('process.down', 'the control socket is closed'));
        return;
      }
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new FnError('process.down', `no answer to ${name} within ${timeout} ms`));
      }, timeout);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#send({ id, call: name, in: input });
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(message: Message): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  async #receive(line: string): Promise<void> {
    let message: Message;
    try {
      message = JSON.parse(line) as Message;
      if (typeof message !== 'object' || message === null) throw new TypeError('not an object');
    } catch {
      this.#socket.destroy(new Error('not a message on the control socket'));
      return;
    }
    if (message.call === undefined) {
      const waiting = this.#waiting.get(message.id);
      if (!waiting) return; // It came after its timeout.
      this.#waiting.delete(message.id);
      clearTimeout(waiting.timer);
      if (message.error) waiting.reject(fromProblem(message.error) ?? new FnError('internal', message.error.detail));
      else waiting.resolve(message.out);
      return;
    }
    try {
      if (!Object.hasOwn(this.#handlers, message.call)) throw new FnError('internal', `no call ${message.call}`);
      const handler = (this.#handlers as Record<string, (input: unknown) => unknown>)[message.call];
      this.#send({ id: message.id, out: await handler?.(message.in) });
    } catch (error) {
      this.#send({ id: message.id, error: toFnError(error).toProblem() });
    }
  }
}
