/** API keys of functions with `auth: key`. A key is shown once, when it is made; what is stored is its SHA-256. That is
 *  enough, where a password would need a slow hash: the secret part is 256 random bits, so there is no list of likely keys
 *  to try, and no work factor makes 2^256 guesses more hopeless than they are. It also has to be checked on every request.
 *
 *  The text is `fnk_`, 12 hex digits that only say which key it is (found in a log, it can be revoked without being known),
 *  and 43 characters of secret. */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { KeyRecord } from './records.ts';

const KEY_PATTERN = /^fnk_([0-9a-f]{12})[\w-]{43}$/;
export const KEY_NAME_PATTERN = /^[A-Za-z0-9][\w.-]{0,62}$/;

export function newKey(): { readonly text: string; readonly id: string; readonly hash: string } {
  const id = randomBytes(6).toString('hex');
  const text = `fnk_${id}${randomBytes(32).toString('base64url')}`;
  return { text, id, hash: hash(text).toString('hex') };
}

/** Which key a text claims to be; undefined when it is none. */
export function keyIdOf(text: string): string | undefined {
  return KEY_PATTERN.exec(text)?.[1];
}

/** In constant time. */
export function isKey(text: string, record: Pick<KeyRecord, 'hash'>): boolean {
  return timingSafeEqual(hash(text), Buffer.from(record.hash, 'hex'));
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
