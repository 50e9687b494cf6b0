/** `auth: { jwt }`: tokens that an issuer signed (RFC 7519), checked with its public keys: signature, issuer, audience, time.
 *  The algorithm must be one of the policy's, which know neither "none" nor shared secrets.
 *
 *  The function gets the claims, which are the token's middle part as it was signed, and not the token: with that it could
 *  call others in its caller's name. */

import { errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from 'jose';
import type { Clock } from '../../core/clock.ts';
import { HEADERS } from '../../core/control.ts';
import { FnError } from '../../core/errors.ts';
import type { JwtPolicy } from '../../core/policies.ts';
import type { Identity } from './call.ts';
import { valuesOf, withoutFields } from './fields.ts';
import { KeySource } from './jwks.ts';

/** Issuers whose keys are kept. */
const SOURCES_MAX = 256;

export class Tokens {
  readonly #clock: Clock;
  readonly #sources = new Map<string, KeySource>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Finds out who calls, by the token in the fields.
   *  @throws FnError token.required, token.invalid, token.unverifiable. */
  async identify(policy: JwtPolicy, fields: string): Promise<Identity> {
    const authorization = valuesOf(fields, 'authorization');
    const token = /^bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i.exec(authorization[0] ?? '')?.[1];
    if (token === undefined) throw new FnError('token.required', 'the request carries no bearer token that is a JWT');
    if (authorization.length > 1) throw invalid('the request carries several Authorization fields');
    const { iss, sub } = await this.#verify(policy, token);
    return {
      caller: sub === undefined ? undefined : `jwt:${iss ?? ''}|${sub}`,
      fields: `${withoutFields(fields, ['authorization'])}${HEADERS.claims}: ${token.split('.')[1]}\r\n`,
    };
  }

  async #verify(policy: JwtPolicy, token: string): Promise<JWTPayload> {
    const source = this.#source(policy.jwksUri);
    const options: JWTVerifyOptions = {
      issuer: policy.issuer,
      audience: policy.audience,
      algorithms: policy.algorithms,
      clockTolerance: policy.clockTolerance / 1000,
      requiredClaims: ['exp'],
      currentDate: new Date(this.#clock.now()),
    };
    try {
      return (await jwtVerify(token, (header, jws) => source.find(header, jws), options)).payload;
    } catch (error) {
      if (error instanceof FnError) throw error;
      if (error instanceof errors.JWKSMultipleMatchingKeys) return verifyWithAny(token, error, options);
      throw whyInvalid(error);
    }
  }

  #source(uri: string): KeySource {
    const source = this.#sources.get(uri) ?? new KeySource(uri, this.#clock);
    this.#sources.delete(uri); // Back in at the end: the oldest is first.
    this.#sources.set(uri, source);
    if (this.#sources.size > SOURCES_MAX) this.#sources.delete(this.#sources.keys().next().value!);
    return source;
  }
}

/** A token that does not name its key, where several could have signed it. */
async function verifyWithAny(
  token: string,
  keys: errors.JWKSMultipleMatchingKeys,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  for await (const key of keys) {
    try {
      return (await jwtVerify(token, key, options)).payload;
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw whyInvalid(error);
    }
  }
  throw invalid('the signature fits none of the keys of the issuer');
}

function whyInvalid(error: unknown): FnError {
  if (error instanceof errors.JWTExpired) return invalid('it has expired', error);
  if (error instanceof errors.JWTClaimValidationFailed) return invalid(`its claim ${error.claim} is refused`, error);
  if (error instanceof errors.JOSEAlgNotAllowed) return invalid('its algorithm is not allowed', error);
  if (error instanceof errors.JWKSNoMatchingKey) return invalid('the issuer has no such key', error);
  if (error instanceof errors.JWSSignatureVerificationFailed) return invalid('its signature does not fit', error);
  // Whatever else a hostile token makes the library say: it was not verified.
  return invalid('it cannot be read', error);
}

function invalid(why: string, cause?: unknown): FnError {
  return new FnError('token.invalid', `the token is refused: ${why}`, cause === undefined ? {} : { cause });
}
