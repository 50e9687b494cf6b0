/** The sockets the gateway listens on and the connections that came over them. */

import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import type { AddressSet } from '../core/addresses.ts';
import { sleep } from '../core/clock.ts';
import type { FnError } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';
import type { CertificateSource } from './certificate.ts';
import { ClientConnection, type ConnectionOwner } from './connection.ts';
import { CLEARTEXT, type ClientSocket, type Door, INTERNAL, STREAM, TLS } from './door.ts';
import type { Exchange } from './exchange.ts';
import type { RequestHead } from './http/parse-request.ts';
import { type Http2Owner, Http2Sessions } from './http2/sessions.ts';
import type { StreamSocket } from './http2/stream-socket.ts';
import type { ClientPatience } from './patience.ts';

export interface ListenerOptions {
  readonly bodyLimit: number;
  readonly proxies: AddressSet | undefined;
  readonly patience: ClientPatience;
  readonly open: (connection: ClientConnection, head: RequestHead, requestId: string) => Exchange;
  /** A request was refused before anything was found to answer it. */
  readonly refused: (error: FnError) => void;
  /** Connections were ended to make room for others, or refused because there was none. */
  readonly dropped: (why: 'idle' | 'full', count: number) => void;
  /** Client connections at once, and requests on those of HTTP/2; as many as the process may have by default. */
  readonly connectionsMax?: number | undefined;
}

/** As many as the process may have. */
export function connectionsMax(): number {
  return Math.min(CONNECTIONS_MAX, descriptorsMax() - DESCRIPTORS_KEPT);
}

/** How connections come to their end. */
export interface DrainLimits {
  /** For everything. */
  readonly within: Millis;
  /** One that is idle for so long is closed. A client may send its next request at that very moment, and it is lost; as at
   *  any server that closes what is idle. */
  readonly idle: Millis;
  /** For connections that carry another protocol. */
  readonly tunnels: Millis;
}

const SWEEP_EVERY: Millis = 1000;
/** Client connections at once. */
const CONNECTIONS_MAX = 20_000;
/** Descriptors left for connections to instances, at least. */
const DESCRIPTORS_KEPT = 1000;
/** Connections that make room at once, so that looking for them is not done for each newcomer. */
const EVICTED_MAX = 100;
const BACKLOG = 1024;

export class Listener implements ConnectionOwner, Http2Owner, AsyncDisposable {
  readonly #options: ListenerOptions;
  readonly #connections = new Set<ClientConnection>();
  /** Accepted, and at their TLS handshake. */
  readonly #greeting = new Set<Socket>();
  readonly #http2 = new Http2Sessions(this);
  readonly #cleartext: Door = {
    ...CLEARTEXT,
    http2: (socket, first) => this.#http2.open(socket as Socket, 'http', first),
  };
  readonly #connectionsMax: number;
  readonly #servers: Server[] = [];
  readonly #sweeper: NodeJS.Timeout;
  #limits: DrainLimits | undefined;
  #drainEnd: Millis = 0;
  #tunnelEnd: Millis = 0;
  #drained: Promise<void> | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#connectionsMax = options.connectionsMax ?? connectionsMax();
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(SWEEP_EVERY, options.patience.head)).unref();
  }

  /** Accepts on a listening socket, and closes the descriptor at the end. */
  listen(fd: number): Promise<void> {
    return this.#listen(fd, (socket) => {
      if (this.#admit(socket)) this.#connect(socket, this.#cleartext);
    });
  }

  /** The same for clients that speak TLS. */
  listenTls(fd: number, certificate: CertificateSource): Promise<void> {
    const tls = this.#tlsServer(certificate);
    return this.#listen(fd, (socket) => {
      if (this.#admit(socket)) this.#greet(socket, tls);
    });
  }

  /** The same for clients that are the platform's own processes. */
  listenTrusted(fd: number): Promise<void> {
    return this.#listen(fd, (socket) => this.#connect(socket, INTERNAL));
  }

  /** Accepts no more connections, lets what is in flight finish, and cuts what is left at the limits. Called again, it goes by
   *  the new limits. */
  drain(limits: DrainLimits): Promise<void> {
    const now = performance.now();
    this.#limits = limits;
    this.#drainEnd = now + limits.within;
    this.#tunnelEnd = now + limits.tunnels;
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  async #drain(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    while (this.size > 0) {
      const now = performance.now();
      if (now >= this.#drainEnd) break;
      this.#http2.drain(now);
      for (const connection of this.#connections) {
        if (connection.isTunnel && now >= this.#tunnelEnd) connection.cut();
        else connection.drain(now, this.#limits?.idle ?? 0);
      }
      await sleep(DRAIN_STEP);
    }
    for (const connection of this.#connections) connection.socket.destroy();
    for (const socket of this.#greeting) socket.destroy();
    this.#http2.destroy();
    await Promise.all(closed);
    clearInterval(this.#sweeper);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain({ within: 0, idle: 0, tunnels: 0 });
  }

  /** Connections, and requests on those of HTTP/2. */
  get size(): number {
    return this.#connections.size + this.#http2.size;
  }

  get isFull(): boolean {
    return this.size + this.#greeting.size >= this.#connectionsMax;
  }

  get bodyLimit(): number {
    return this.#options.bodyLimit;
  }

  get proxies(): AddressSet | undefined {
    return this.#options.proxies;
  }

  get patience(): ClientPatience {
    return this.#options.patience;
  }

  get draining(): boolean {
    return this.#limits !== undefined;
  }

  open(connection: ClientConnection, head: RequestHead, requestId: string): Exchange {
    return this.#options.open(connection, head, requestId);
  }

  refused(error: FnError): void {
    this.#options.refused(error);
  }

  accept(stream: StreamSocket, scheme: 'http' | 'https'): void {
    this.#connect(stream, STREAM[scheme]);
  }

  closed(connection: ClientConnection): void {
    this.#connections.delete(connection);
  }

  /** Newcomers go before connections that wait for their clients: whoever only holds connections cannot take them all. */
  #admit(socket: Socket): boolean {
    if (!this.isFull) return true;
    const now = performance.now();
    let evicted = 0;
    for (const connection of this.#connections) {
      if (evicted === EVICTED_MAX) break;
      if (!connection.evict(now)) continue;
      this.#connections.delete(connection);
      evicted++;
    }
    evicted += this.#http2.evict(now, EVICTED_MAX - evicted);
    if (evicted > 0) this.#options.dropped('idle', evicted);
    if (!this.isFull) return true;
    this.#options.dropped('full', 1);
    socket.destroy();
    return false;
  }

  #connect(socket: ClientSocket, door: Door): void {
    this.#connections.add(new ClientConnection(socket, door, this));
  }

  /** Speaks TLS on sockets it is handed, but does not listen: how a socket comes to be is not its business. */
  #tlsServer(certificate: CertificateSource): TlsServer {
    const common = { minVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_RENEGOTIATION } as const;
    const server = createTlsServer({
      ...common,
      ...certificate.pair,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: this.#options.patience.head,
      allowHalfOpen: true,
    });
    server.on('secureConnection', (socket) => {
      if (socket.alpnProtocol === 'h2') this.#http2.open(socket, 'https');
      else this.#connect(socket, TLS);
    });
    server.on('tlsClientError', (_error, socket) => void socket.destroy()); // Scanners, and clients that do not trust us.
    certificate.onChange((pair) => server.setSecureContext({ ...common, ...pair }));
    return server;
  }

  #greet(socket: Socket, tls: TlsServer): void {
    this.#greeting.add(socket);
    socket.on('close', () => this.#greeting.delete(socket));
    tls.emit('connection', socket);
  }

  #listen(fd: number, accept: (socket: Socket) => void): Promise<void> {
    // Half-open, because the end of what a client sends must not close what we still write to it.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd, backlog: BACKLOG }, () => {
        this.#servers.push(server);
        resolve();
      });
    });
  }

  #sweep(): void {
    const now = performance.now();
    for (const connection of this.#connections) connection.sweep(now);
    this.#http2.sweep(now);
  }
}

const DRAIN_STEP: Millis = 20;

/** What this process may open; Node has raised it to the hard limit. */
function descriptorsMax(): number {
  const [, soft = '1024'] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Number(soft);
}
