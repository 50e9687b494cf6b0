/** Calls in both directions between two threads: what is sent is copied. */

import { type Calls, type Handlers, type Message, Peer } from '../../core/rpc.ts';

/** A MessagePort, or the worker it leads to. */
export interface Port {
  postMessage(message: unknown, transfer: []): void;
  on(event: 'message', listener: (message: Message) => void): unknown;
}

export class PortPeer<Theirs extends Calls<Theirs>, Ours> extends Peer<Theirs, Ours> {
  readonly #port: Port;

  constructor(port: Port, handlers: Handlers<Ours>) {
    super(handlers, 'the other thread');
    this.#port = port;
    port.on('message', (message) => this.receive(message));
  }

  /** The thread has ended. */
  close(): void {
    this.end();
  }

  protected override send(message: Message): void {
    this.#port.postMessage(message, []);
  }
}
