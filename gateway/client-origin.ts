/** Who the client of a connection is, and how a function is told: the peer, or whom a proxy of ours names with each request. */

import { type AddressSet, plainAddress } from '../core/addresses.ts';
import { type Origin, originOf, type Scheme } from './origin.ts';

export class ClientOrigin {
  readonly #peer: string;
  readonly #scheme: Scheme;
  /** Set when the peer is one of our proxies. */
  readonly #proxies: AddressSet | undefined;
  /** Where the request under way came from, as our proxies say. */
  #origin: Origin | undefined;
  /** Fields about the client, and the Host they were made for. */
  #forwarded = '';
  #forwardedHost: string | undefined;

  /** @param peer its address; absent for a unix socket. @param proxies those that are believed. */
  constructor(peer: string | undefined, scheme: Scheme, proxies: AddressSet | undefined) {
    this.#peer = plainAddress(peer ?? '');
    this.#scheme = scheme;
    if (proxies?.has(this.#peer)) this.#proxies = proxies;
  }

  /** The peer is one of our proxies. */
  get isProxied(): boolean {
    return this.#proxies !== undefined;
  }

  /** A request begins. @param proxyFields the lines of it that only a proxy of ours may send. */
  begin(proxyFields: string): void {
    if (this.#proxies) this.#origin = originOf(this.#peer, proxyFields, this.#proxies);
  }

  /** Empty when it came over a unix socket. */
  get address(): string {
    return this.#origin?.address ?? this.#peer;
  }

  /** The fields that tell a function who its client is; made once for a connection and a Host, or for each request of a
   *  proxy. */
  forwardedFor(host: string): string {
    if (this.#origin) {
      const { address, scheme = this.#scheme, host: asked = host } = this.#origin;
      return forwardedFields(address, asked, scheme);
    }
    if (this.#forwardedHost !== host) {
      this.#forwardedHost = host;
      this.#forwarded = forwardedFields(this.#peer, host, this.#scheme);
    }
    return this.#forwarded;
  }
}

/** Nothing else that came with the request is in it. */
function forwardedFields(address: string, host: string, scheme: Scheme): string {
  const node = address === '' ? 'unknown' : address.includes(':') ? `"[${address}]"` : address;
  const from = address === '' ? '' : `x-forwarded-for: ${address}\r\n`;
  const asked = host === '' ? '' : `x-forwarded-host: ${host}\r\n`;
  const forwarded = `forwarded: for=${node};proto=${scheme}${host === '' ? '' : `;host="${host}"`}\r\n`;
  return `${from}x-forwarded-proto: ${scheme}\r\n${asked}${forwarded}`;
}
