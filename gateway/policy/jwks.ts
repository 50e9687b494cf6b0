/** The public keys of an issuer of tokens (RFC 7517), fetched when first needed and kept. They are fetched again now and then,
 *  and when a token names a key that is not among them, since issuers rotate keys; the latter at most once in a while,
 *  because anyone can make up a name. While the issuer is away its old keys go on being good.
 *
 *  Bounded: the time and the size of a reply, the number of keys. Symmetric keys are left out: a key that is public signs
 *  nothing. */

import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWSHeaderParameters } from 'jose';
import type { Clock } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import type { Bytes, Millis } from '../../core/units.ts';

const FETCH_WITHIN: Millis = 5000;
const REPLY_MAX: Bytes = 256 * 1024;
const KEYS_MAX = 100;
/** Keys older than this are fetched again, while they go on being used. */
const FRESH_FOR: Millis = 600_000;
/** Between two fetches for names that are not known. */
const UNKNOWN_EVERY: Millis = 30_000;
/** Between two fetches that fail. */
const FAILED_EVERY: Millis = 5000;

type Local = ReturnType<typeof createLocalJWKSet>;

export class KeySource {
  readonly #uri: string;
  readonly #clock: Clock;
  #keys: Local | undefined;
  /** Monotonic. */
  #fetchedAt: Millis = -Infinity;
  #triedAt: Millis = -Infinity;
  #fetching: Promise<Local> | undefined;

  constructor(uri: string, clock: Clock) {
    this.#uri = uri;
    this.#clock = clock;
  }

  /** The key that a token was signed with.
   *  @throws FnError token.unverifiable when no keys could be had; jose's JWKSNoMatchingKey. */
  async find(header: JWSHeaderParameters, token: FlattenedJWSInput): ReturnType<Local> {
    const keys = this.#keys ?? (await this.#fetch(FAILED_EVERY));
    const { kid } = header;
    if (this.#clock.monotonic() - this.#fetchedAt > FRESH_FOR) {
      this.#fetch(UNKNOWN_EVERY).catch(() => {}); // The old ones stay.
    }
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || kid === undefined) throw error;
      const fresh = await this.#fetch(UNKNOWN_EVERY).catch(() => undefined);
      if (!fresh) throw error;
      return fresh(header, token);
    }
  }

  /** Fetches, once for all who ask meanwhile.
   *  @param every not sooner after the last try. */
  #fetch(every: Millis): Promise<Local> {
    if (this.#fetching) return this.#fetching;
    const now = this.#clock.monotonic();
    if (now - this.#triedAt < every) return Promise.reject(unverifiable('they were asked for a moment ago'));
    this.#triedAt = now;
    const fetching = this.#get().finally(() => (this.#fetching = undefined));
    this.#fetching = fetching;
    return fetching;
  }

  async #get(): Promise<Local> {
    try {
      const response = await fetch(this.#uri, {
        headers: { accept: 'application/json' },
        redirect: 'error',
        signal: AbortSignal.timeout(FETCH_WITHIN),
      });
      if (!response.ok) throw new Error(`it answered ${response.status}`);
      const keys = createLocalJWKSet(parse(await readText(response)));
      this.#keys = keys;
      this.#fetchedAt = this.#clock.monotonic();
      return keys;
    } catch (cause) {
      throw unverifiable(whyFailed(cause), cause);
    }
  }
}

/** Where the keys are is not for every caller to know. */
function unverifiable(why: string, cause?: unknown): FnError {
  return new FnError('token.unverifiable', `the keys of the issuer cannot be had: ${why}`, { cause, retryAfterS: 5 });
}

/** fetch hides why it failed in the cause. */
function whyFailed(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = Object(error.cause) as NodeJS.ErrnoException;
  return code ?? error.message;
}

async function readText(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > REPLY_MAX) throw new Error(`its reply is over ${REPLY_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function parse(text: string): JSONWebKeySet {
  const { keys } = Object(JSON.parse(text)) as Partial<JSONWebKeySet>;
  if (!Array.isArray(keys) || keys.length > KEYS_MAX) throw new Error('its reply is no set of keys');
  return { keys: keys.filter((key) => Object(key) === key && key.kty !== 'oct') };
}
