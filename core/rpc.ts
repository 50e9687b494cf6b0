/** Calls in both directions between two sides: `{id, call, in}` and `{id, out}` or `{id, error}`. An error of the catalogue
 *  arrives as itself, and a call that is not answered in time fails. Whatever carries a message makes a peer: here a unix
 *  socket between two processes, with one JSON object a line, of 1 MiB at most; in gateway/threads/port-peer.ts a port
 *  between two threads. */

import type { Socket } from 'node:net';
import { FnError, fromProblem, type Problem, toFnError } from './errors.ts';
import { LineSplitter } from './lines.ts';
import type { Millis } from './units.ts';

/** What one side may call on the other: by name, what goes in and what comes out. */
export type Calls<C> = { [K in keyof C]: { in: unknown; out: unknown } };

export type Handlers<C> = {
  readonly [K in keyof C]: C[K] extends { in: infer I; out: infer O } ? (input: I) => O | Promise<O> : never;
};

export interface Message {
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

/** One end. `Theirs` are the calls the other side answers, `Ours` those we answer. */
export abstract class Peer<Theirs extends Calls<Theirs>, Ours> {
  readonly #handlers: Handlers<Ours>;
  /** What an error calls the other side. */
  readonly #other: string;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #ended = false;

  constructor(handlers: Handlers<Ours>, other: string) {
    this.#handlers = handlers;
    this.#other = other;
  }

  protected abstract send(message: Message): void;

  /** Rejects with the FnError the other side threw, or `process.down` when it is away or too slow. */
  call<K extends keyof Theirs & string>(name: K, input: Theirs[K]['in'], timeout: Millis): Promise<Theirs[K]['out']> {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(this.#gone());
        return;
      }
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new FnError('process.down', `no answer to ${name} within ${timeout} ms from ${this.#other}`));
      }, timeout);
      this.#waiting.set(id, { resolve, reject, timer });
      this.send({ id, call: name, in: input });
    });
  }

  protected receive(message: Message): void {
    const { id, call, error } = message;
    if (call !== undefined) {
      void this.#answer(id, call, message.in);
      return;
    }
    const waiting = this.#waiting.get(id);
    if (!waiting) return; // It came after its timeout.
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(fromProblem(error) ?? new FnError('internal', error.detail));
    else waiting.resolve(message.out);
  }

  /** The other side is no more: every call that waits fails, and every later one. */
  protected end(): void {
    this.#ended = true;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(this.#gone());
    }
    this.#waiting.clear();
  }

  #gone(): FnError {
    return new FnError('process.down', `${this.#other} is gone`);
  }

  async #answer(id: number, call: string, input: unknown): Promise<void> {
    try {
      if (!Object.hasOwn(this.#handlers, call)) throw new FnError('internal', `no call ${call}`);
      const handler = (this.#handlers as Record<string, (input: unknown) => unknown>)[call];
      this.send({ id, out: await handler?.(input) });
    } catch (error) {
      this.send({ id, error: toFnError(error).toProblem() });
    }
  }
}

const LINE_LIMIT = 2 ** 20;

/** One end of a unix socket. */
export class RpcPeer<Theirs extends Calls<Theirs>, Ours> extends Peer<Theirs, Ours> {
  readonly #socket: Socket;
  readonly closed: Promise<void>;

  constructor(socket: Socket, handlers: Handlers<Ours>) {
    super(handlers, 'the other side of the control socket');
    this.#socket = socket;
    const splitter = new LineSplitter();
    socket.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) this.#read(line);
      if (splitter.pending > LINE_LIMIT) socket.destroy(new Error('a line over 1 MiB on the control socket'));
    });
    socket.on('error', () => {}); // 'close' follows and fails what waits.
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    void this.closed.then(() => this.end());
  }

  close(): void {
    this.#socket.destroy();
  }

  protected override send(message: Message): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #read(line: string): void {
    let message: Message;
    try {
      message = JSON.parse(line) as Message;
      if (typeof message !== 'object' || message === null) throw new TypeError('not an object');
    } catch {
      this.#socket.destroy(new Error('not a message on the control socket'));
      return;
    }
    this.receive(message);
  }
}
