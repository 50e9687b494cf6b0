/** `rate`: how often a caller may call, and how it is told: Retry-After on a 429, and on every reply the fields of the IETF
 *  draft (draft-ietf-httpapi-ratelimit-headers-10): RateLimit-Policy says what the limit is, RateLimit what is left of it. */

import { createHash } from 'node:crypto';
import { addressGroup } from '../../core/addresses.ts';
import { FnError } from '../../core/errors.ts';
import type { Policies } from '../../core/policies.ts';
import { parseDuration } from '../../core/units.ts';
import type { Call, Identity } from './call.ts';
import type { Rate, Turn, Turns } from './turns.ts';

export interface RatePlan extends Rate {
  readonly per: 'key' | 'address';
  /** The limit as written; another one counts anew. */
  readonly text: string;
  /** RateLimit-Policy. */
  readonly policy: string;
}

export function ratePlanOf(rate: NonNullable<Policies['rate']>): RatePlan {
  const { limit: text, per, burst } = typeof rate === 'string' ? { limit: rate, per: 'key' as const } : rate;
  const [count = '', unit = ''] = text.split('/');
  const period = parseDuration(`1${unit}`) ?? 1000;
  const limit = Number(count);
  return {
    text,
    per,
    interval: (period * 1000) / limit,
    burst: burst ?? limit,
    policy: `"default";q=${limit};w=${period / 1000}`,
  };
}

/** Takes one turn of the caller, and tells it what is left.
 *  @throws FnError rate.exceeded. */
export async function takeTurn(
  call: Call,
  plan: RatePlan,
  identity: Identity | undefined,
  turns: Turns,
): Promise<void> {
  const { client, name } = call;
  const who =
    plan.per === 'key' && identity?.caller !== undefined
      ? identity.caller
      : `address:${addressGroup(client.origin.address)}`;
  const turn = await turns.take(`${name}:${plan.text}:${bounded(who)}`, plan);
  client.replyFields += `ratelimit-policy: ${plan.policy}\r\nratelimit: "default";r=${turn.left};t=${secondsOf(turn)}\r\n`;
  if (turn.granted) return;
  throw new FnError('rate.exceeded', `more than ${plan.text} calls of ${name} from this ${plan.per}`, {
    retryAfterS: Math.max(1, Math.ceil(turn.waitMs / 1000)),
  });
}

function secondsOf(turn: Turn): number {
  return Math.ceil(turn.fullMs / 1000);
}

/** A caller names itself in a token; what names it in Redis has a length of ours. */
function bounded(who: string): string {
  return who.length <= 96 ? who : createHash('sha256').update(who).digest('base64url');
}
