/** Which address a sandbox has. 198.18.0.0/15 is cut into 64 blocks of 2048, one for each policy in use: the address *is* the
 *  policy, so a sandbox needs no rule of its own, and its place in the block is its uid slot, so nothing is allocated. The
 *  addresses are translated before they leave the platform's router; every platform may use the same. */

import { FnError } from '../../core/errors.ts';

/** All sandboxes of all platforms. */
export const SANDBOX_RANGE = '198.18.0.0/15';
export const INTERNET_BLOCK = 0;
export const INTERNAL_BLOCK = 1;
/** The blocks from here on are for lists. */
export const FIRST_LIST_BLOCK = 2;
export const BLOCKS = 64;

const BLOCK_BITS = 11;
/** The first address of the whole range is the router's. */
const FIRST = 2;
const BASE = 198 * 2 ** 24 + 18 * 2 ** 16;

export function blockRange(block: number): string {
  return `${dotted(BASE + (block << BLOCK_BITS))}/${32 - BLOCK_BITS}`;
}

/** @param slot as given by UidSlots: no two living sandboxes have the same. */
export function addressOf(block: number, slot: number): string {
  const place = FIRST + slot;
  if (place >= 2 ** BLOCK_BITS) throw new FnError('internal', `slot ${slot} has no address`);
  return dotted(BASE + (block << BLOCK_BITS) + place);
}

/** The two ends of the link between router and machine: a /30 of the link-local range, which nothing routes. */
export interface LinkAddresses {
  readonly machine: string;
  readonly router: string;
}

const LINK_BASE = 169 * 2 ** 24 + 254 * 2 ** 16 + 170 * 2 ** 8;
/** 169.254.170.0 to 169.254.253.255; clouds have their services below. */
const LINKS = (84 * 256) / 4;

/** The free link nearest to where the platform's hash points.
 *  @param taken ranges that have a route on this machine */
export function chooseLink(platform: string, taken: readonly string[]): LinkAddresses {
  const start = Number.parseInt(platform, 16) % LINKS;
  for (let step = 0; step < LINKS; step++) {
    const base = LINK_BASE + ((start + step) % LINKS) * 4;
    if (taken.some((range) => meets(base, range))) continue;
    return { machine: dotted(base + 1), router: dotted(base + 2) };
  }
  throw new FnError('network.unavailable', 'every link-local address of this machine is taken');
}

/** Wide routes do not matter (169.254.0.0/16 is common): ours is more specific. */
function meets(base: number, range: string): boolean {
  const [address = '', bits = '32'] = range.split('/');
  const size = 2 ** (32 - Number(bits));
  const first = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return size <= 256 && first < base + 4 && base < first + size;
}

function dotted(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}
