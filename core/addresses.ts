/** Sets of IP addresses, as people write them: single addresses and ranges, IPv4 and IPv6. */

import { BlockList, isIP } from 'node:net';

export interface AddressRange {
  readonly address: string;
  readonly bits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Parses `192.0.2.7`, `10.1.0.0/16` and `2001:db8::/32`. Undefined for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes('%')) return undefined;
  const all = version === 4 ? 32 : 128;
  if (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > all)) return undefined;
  return { address, bits: bits === undefined ? all : Number(bits), family: version === 4 ? 'ipv4' : 'ipv6' };
}

export class AddressSet {
  readonly #list = new BlockList();

  /** Every text must be one that `parseRange` reads. */
  constructor(ranges: readonly string[]) {
    for (const text of ranges) {
      const range = parseRange(text);
      if (!range) throw new TypeError(`${text} is not a range of addresses`);
      this.#list.addSubnet(range.address, range.bits, range.family);
    }
  }

  /** False for what is no address at all. */
  has(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#list.check(address, version === 4 ? 'ipv4' : 'ipv6');
  }
}

/** An IPv4 address that came over an IPv6 socket, as IPv4: one client has one name. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

/** Who a client is for the purpose of counting: an IPv4 address, or the /64 of an IPv6 address, since one customer has as
 *  many addresses in it as they like. */
export function addressGroup(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array<string>(Math.max(0, missing)).fill('0'), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
