/** The sockets the gateway listens on and the connections that came over them. */

import { createServer, type Server, type Socket } from 'node:net';
import { sleep } from '../core/clock.ts';
import type { FnError } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';
import { ClientConnection, type ClientPatience, type ConnectionOwner, type Exchange } from './connection.ts';
import type { RequestHead } from './http/parse-request.ts';

export interface ListenerOptions {
  readonly bodyLimit: number;
  readonly patience: ClientPatience;
  readonly open: (connection: ClientConnection, head: RequestHead, requestId: string) => Exchange;
  /** A request was refused before anything was found to answer it. */
  readonly refused: (error: FnError) => void;
}

const SWEEP_EVERY: Millis = 1000;
/** Client connections at once on one port. */
const CONNECTIONS_MAX = 20_000;
const BACKLOG = 1024;

export class Listener implements ConnectionOwner, AsyncDisposable {
  readonly #options: ListenerOptions;
  readonly #connections = new Set<ClientConnection>();
  readonly #servers: Server[] = [];
  readonly #sweeper: NodeJS.Timeout;
  #draining = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(SWEEP_EVERY, options.patience.head)).unref();
  }

  /** Accepts on a listening socket, and closes the descriptor at the end.
   *  @param trusted its clients are the platform's own processes. */
  listen(fd: number, trusted: boolean): Promise<void> {
    // Half-open, because the end of what a client sends must not close what we still write to it.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket: Socket) => {
      this.#connections.add(new ClientConnection(socket, this, trusted));
    });
    server.maxConnections = CONNECTIONS_MAX;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd, backlog: BACKLOG }, () => {
        this.#servers.push(server);
        resolve();
      });
    });
  }

  /** Refuses new connections, lets replies under way finish for at most `within`, then cuts what is left. */
  async drain(within: Millis): Promise<void> {
    this.#draining = true;
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    const deadline = performance.now() + within;
    while (this.#connections.size > 0 && performance.now() < deadline) {
      const now = performance.now();
      for (const connection of this.#connections) connection.drain(now);
      await sleep(DRAIN_STEP);
    }
    for (const connection of this.#connections) connection.socket.destroy();
    await Promise.all(closed);
    clearInterval(this.#sweeper);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain(0);
  }

  get size(): number {
    return this.#connections.size;
  }

  get bodyLimit(): number {
    return this.#options.bodyLimit;
  }

  get patience(): ClientPatience {
    return this.#options.patience;
  }

  get draining(): boolean {
    return this.#draining;
  }

  open(connection: ClientConnection, head: RequestHead, requestId: string): Exchange {
    return this.#options.open(connection, head, requestId);
  }

  refused(error: FnError): void {
    this.#options.refused(error);
  }

  closed(connection: ClientConnection): void {
    this.#connections.delete(connection);
  }

  #sweep(): void {
    const now = performance.now();
    for (const connection of this.#connections) connection.sweep(now);
  }
}

const DRAIN_STEP: Millis = 20;
