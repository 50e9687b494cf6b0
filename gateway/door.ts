/** By which way clients come in, and what differs between the ways. */

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Scheme } from './origin.ts';

/** A TCP or unix socket, one with TLS on it, or one stream of HTTP/2 that speaks HTTP/1.1 to us. */
export interface ClientSocket extends Duplex {
  readonly remoteAddress?: string | undefined;
  destroySoon(): void;
}

export interface Door {
  /** Its clients are the platform's own processes. */
  readonly trusted: boolean;
  readonly scheme: Scheme;
  /** Ends a connection so that what came of a reply cannot look whole. */
  cut(socket: ClientSocket): void;
  /** Takes over a connection whose client begins with the preface of HTTP/2; absent where that is not spoken. */
  http2?(socket: ClientSocket, first: Buffer): void;
}

export const CLEARTEXT: Door = {
  trusted: false,
  scheme: 'http',
  cut: (socket) => void (socket as Socket).resetAndDestroy(),
};
/** TLS has an end of its own, which is not sent: who knows to look cannot take what came for whole. */
export const TLS: Door = { trusted: false, scheme: 'https', cut: (socket) => void socket.destroy() };
/** A unix socket cannot be reset. */
export const INTERNAL: Door = { trusted: true, scheme: 'http', cut: (socket) => void socket.destroy() };
/** A stream of HTTP/2 is reset when it is destroyed in the middle. */
export const STREAM: Readonly<Record<Scheme, Door>> = {
  http: { trusted: false, scheme: 'http', cut: (socket) => void socket.destroy() },
  https: { trusted: false, scheme: 'https', cut: (socket) => void socket.destroy() },
};
