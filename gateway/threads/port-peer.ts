/** Calls in both directions between two threads, as core/rpc.ts makes them between two processes: what is sent is copied, an
 *  error arrives as the error it was, and an answer that does not come in time is an error too. */

import { FnError, fromProblem, type Problem, toFnError } from '../../core/errors.ts';
import type { Handlers } from '../../core/rpc.ts';
import type { Millis } from '../../core/units.ts';

/** A MessagePort, or the worker it leads to. */
export interface Port {
  postMessage(message: unknown, transfer: []): void;
  on(event: 'message', listener: (message: Message) => void): unknown;
}

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

/** One end. `Theirs` are the calls the other side answers, `Ours` those we answer. */
export class PortPeer<Theirs extends { [K in keyof Theirs]: { in: unknown; out: unknown } }, Ours> {
  readonly #port: Port;
  readonly #handlers: Handlers<Ours>;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  constructor(port: Port, handlers: Handlers<Ours>) {
    this.#port = port;
    this.#handlers = handlers;
    port.on('message', (message) => void this.#receive(message));
  }

  /** Rejects with the FnError the other side threw, or `process.down` when it is too slow. */
  call<K extends keyof Theirs & string>(name: K, input: Theirs[K]['in'], timeout: Millis): Promise<Theirs[K]['out']> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new FnError('process.down', `no answer to ${name} within ${timeout} ms from another thread`));
      }, timeout);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#send({ id, call: name, in: input });
    });
  }

  /** The other side is no more. */
  close(): void {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new FnError('process.down', 'the thread has ended'));
    }
    this.#waiting.clear();
  }

  #send(message: Message): void {
    this.#port.postMessage(message, []);
  }

  async #receive(message: Message): Promise<void> {
    const { id, call } = message;
    if (call === undefined) {
      const waiting = this.#waiting.get(id);
      if (!waiting) return; // It came after its timeout.
      this.#waiting.delete(id);
      clearTimeout(waiting.timer);
      if (message.error) waiting.reject(fromProblem(message.error) ?? new FnError('internal', message.error.detail));
      else waiting.resolve(message.out);
      return;
    }
    try {
      const handler = (this.#handlers as Record<string, (input: unknown) => unknown>)[call];
      this.#send({ id, out: await handler?.(message.in) });
    } catch (error) {
      this.#send({ id, error: toFnError(error).toProblem() });
    }
  }
}
