/** Random hexadecimal ids at the rate of requests: one call for randomness serves hundreds of them. */

import { randomBytes } from 'node:crypto';

const POOL_BYTES = 16 * 1024;

let pool = '';
let used = 0;

/** @param digits hexadecimal digits, 4 bits of randomness each. */
export function randomHex(digits: number): string {
  if (used + digits > pool.length) {
    pool = randomBytes(POOL_BYTES).toString('hex');
    used = 0;
  }
  used += digits;
  return pool.substring(used - digits, used);
}
