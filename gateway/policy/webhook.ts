/** `auth: { webhook }`: the sender signs the body with a secret that both know. What is signed is the body as it came, byte
 *  for byte, so it is held until it is complete and checked before the function hears of it.
 *
 *  github: X-Hub-Signature-256, `sha256=` and HMAC-SHA256 of the body in hexadecimal
 *  (docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries).
 *  stripe: Stripe-Signature, `t=<unix s>,v1=<hex>,v1=…`, HMAC-SHA256 of `<t>.<body>`; several while a secret is being
 *  replaced; t may be off by the tolerance (docs.stripe.com/webhooks, "Verify webhook signatures manually").
 *  generic: any field, algorithm, encoding and prefix. */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { FnError } from '../../core/errors.ts';
import type { WebhookPolicy } from '../../core/policies.ts';
import type { Millis } from '../../core/units.ts';
import { valuesOf } from './fields.ts';

/** Signatures looked at in one field: more than anyone rotates. */
const SIGNATURES_MAX = 8;

/** @param secret opens the secret; called once there is something to compare.
 *  @param now unix ms.
 *  @throws FnError signature.invalid. */
export function checkSignature(
  policy: WebhookPolicy,
  fields: string,
  body: readonly Buffer[],
  secret: () => Buffer,
  now: Millis,
): void {
  const { signed, signatures } = claimedIn(policy, fields, now);
  const hmac = createHmac(policy.scheme === 'generic' ? policy.algorithm : 'sha256', secret()).update(signed);
  for (const piece of body) hmac.update(piece);
  const expected = hmac.digest();
  const isSame = (given: Buffer): boolean => given.length === expected.length && timingSafeEqual(given, expected);
  // All are compared, so that which one fits does not show either.
  if (signatures.filter(isSame).length === 0) throw refused('the signature does not fit the body and the secret');
}

/** What the fields claim; says no to what cannot fit before a body is held for it.
 *  @throws FnError signature.invalid. */
export function claimedIn(policy: WebhookPolicy, fields: string, now: Millis): Claimed {
  return policy.scheme === 'stripe' ? stripe(policy, fields, now) : plain(policy, fields);
}

interface Claimed {
  /** What is signed before the body. */
  readonly signed: string;
  readonly signatures: readonly Buffer[];
}

function plain(policy: WebhookPolicy, fields: string): Claimed {
  const github = { header: 'x-hub-signature-256', prefix: 'sha256=', encoding: 'hex' } as const;
  const { header = '', prefix, encoding } = policy.scheme === 'github' ? github : policy;
  const text = oneValue(fields, header.toLowerCase());
  if (!text.startsWith(prefix)) throw refused(`${header} does not begin with ${prefix}`);
  return { signed: '', signatures: [decode(text.slice(prefix.length), encoding)] };
}

function stripe({ tolerance }: WebhookPolicy, fields: string, now: Millis): Claimed {
  const pairs = oneValue(fields, 'stripe-signature')
    .split(',')
    .map((pair) => pair.trim().split('='));
  const time = pairs.find(([name]) => name === 't')?.[1] ?? '';
  if (!/^\d{1,12}$/.test(time)) throw refused('Stripe-Signature has no time');
  if (Math.abs(now - Number(time) * 1000) > tolerance) throw refused('the signature is too old, or a clock is wrong');
  const signatures = pairs.filter(([name]) => name === 'v1').slice(0, SIGNATURES_MAX);
  return { signed: `${time}.`, signatures: signatures.map(([, text = '']) => decode(text, 'hex')) };
}

function oneValue(fields: string, name: string): string {
  const [value, ...more] = valuesOf(fields, name);
  if (value === undefined) throw refused(`the request carries no ${name}`);
  if (more.length > 0) throw refused(`the request carries several ${name} fields`);
  return value;
}

/** Strictly: Buffer.from drops what it does not understand. */
function decode(text: string, encoding: 'hex' | 'base64'): Buffer {
  const isValid = encoding === 'hex' ? /^(?:[0-9a-f]{2})+$/i.test(text) : /^[\w+/-]+={0,2}$/.test(text);
  if (!isValid) throw refused(`the signature is not ${encoding}`);
  return Buffer.from(text, encoding);
}

function refused(detail: string): FnError {
  return new FnError('signature.invalid', detail);
}
