/** What a function may open connections to. Policies speak of addresses, not of names or ports; docs/decisions/003-network.md
 *  says what each reaches. IPv4 only. */

import { isIPv4 } from 'node:net';

export const EGRESS_POLICIES = ['none', 'internet', 'internal'] as const;

/** A list names what may be reached: IPv4 addresses, ranges and host names. */
export type Egress = (typeof EGRESS_POLICIES)[number] | readonly string[];

export type Destination = { readonly range: string } | { readonly name: string };

/** Destinations in one list at most. */
export const EGRESS_LIST_LIMIT = 32;
/** The resolver as every sandbox with a network knows it, in /etc/resolv.conf of the base layer. The worker passes what
 *  arrives there on to the machine's own resolver. It is the first address of the sandboxes' range (198.18.0.0/15: set
 *  aside for benchmarks by RFC 2544, so nothing that can be reached has it). */
export const SANDBOX_RESOLVER = '198.18.0.1';

const NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** Parses `10.1.0.0/16`, `192.0.2.7` and `api.example.com`. Undefined for anything else. */
export function parseDestination(text: string): Destination | undefined {
  const [address = '', bits, ...rest] = text.split('/');
  if (isIPv4(address) && rest.length === 0) {
    if (bits === undefined) return { range: `${address}/32` };
    return /^([12]?\d|3[0-2])$/.test(bits) ? { range: `${address}/${bits}` } : undefined;
  }
  const name = text.toLowerCase();
  // A last label of digits only is a number that some programs read as an address, such as 127.1 or 2130706433.
  return NAME.test(name) && !/(^|\.)\d+$/.test(name) ? { name } : undefined;
}

/** Equal for policies that allow the same. */
export function egressKey(egress: Egress): string {
  return typeof egress === 'string'
    ? egress
    : [...new Set(egress.map((one) => one.toLowerCase()))].toSorted().join(' ');
}
