/** Who may call a function, how often and from where: the keys of fn.yaml that its gateway enforces before the function
 *  hears of a request. They stand at the top of the file, for every way in, or under an http trigger, where they replace
 *  those at the top for requests that come by that path.
 *
 *  A key that only http triggers have holds for the other ways in too (/function/<name>, the host, /async/<name>): nobody
 *  who closes the path leaves the rest open by forgetting about it. When triggers differ there is nothing to take, so the
 *  key must be written at the top. */

import { z } from 'zod';
import { parseRange } from './addresses.ts';
import { SECRET_NAME_PATTERN } from './secrets.ts';
import { quantity, text } from './spec-values.ts';
import { parseBytes, parseDuration } from './units.ts';

const fieldName = text(/^[\w!#$%&'*+.^`|~-]{1,100}$/, 'the name of a header');

const ONLY_GENERIC = 'only with scheme: generic';
const webhook = z
  .strictObject({
    scheme: z.enum(['github', 'stripe', 'generic']).describe('How the sender signs'),
    secret: text(SECRET_NAME_PATTERN, 'the name of a secret').describe('Made by `fn secret set`'),
    tolerance: quantity(parseDuration, 'a duration from 1s to 1h, such as 5m', 1000, 3_600_000)
      .default(300_000)
      .describe('stripe: how old a signature may be'),
    header: fieldName.optional().describe('generic: the header that has the signature'),
    algorithm: z.enum(['sha256', 'sha512', 'sha1']).default('sha256').describe('generic: of the HMAC'),
    encoding: z.enum(['hex', 'base64']).default('hex').describe('generic: of the signature'),
    prefix: z.string().max(32).default('').describe('generic: what stands before the signature, such as `sha256=`'),
  })
  .superRefine((hook, context) => {
    const complain = (key: string, message: string): void => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    if (hook.scheme === 'generic') {
      if (hook.header === undefined) complain('header', 'the name of a header');
      return;
    }
    if (hook.header !== undefined) complain('header', ONLY_GENERIC);
    if (hook.algorithm !== 'sha256') complain('algorithm', ONLY_GENERIC);
    if (hook.encoding !== 'hex') complain('encoding', ONLY_GENERIC);
    if (hook.prefix !== '') complain('prefix', ONLY_GENERIC);
  });
export type WebhookPolicy = z.output<typeof webhook>;

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
const jwt = z.strictObject({
  issuer: z.string().min(1).max(500).describe('The `iss` of the tokens, exactly'),
  audience: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1).max(20)], 'text, or a list of text')
    .meta({ allowed: 'text, or a list of text' })
    .describe('The `aud` of the tokens; one of a list'),
  jwksUri: z
    .string()
    .refine(isKeyAddress, 'an https URL, or an http URL of this machine')
    .meta({ allowed: 'an https URL, or an http URL of this machine' })
    .describe('Where the public keys of the issuer are'),
  algorithms: z
    .array(z.enum(ALGORITHMS))
    .min(1)
    .default(['RS256', 'PS256', 'ES256', 'EdDSA'])
    .describe('What tokens may be signed with'),
  clockTolerance: quantity(parseDuration, 'a duration from 0 to 5m, such as 30s', 0, 300_000)
    .default(5000)
    .describe('How far clocks may be apart'),
});
export type JwtPolicy = z.output<typeof jwt>;

/** Keys that come unprotected over a network are anyone's. */
function isKeyAddress(text: string): boolean {
  if (text.length > 500 || !URL.canParse(text)) return false;
  const { protocol, hostname, username } = new URL(text);
  const isLocal = hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return username === '' && (protocol === 'https:' || (protocol === 'http:' && isLocal));
}

const auth = z.union([
  z.enum(['none', 'key']).meta({ allowed: 'none, key' }),
  z.strictObject({ webhook: webhook.describe('Whoever signs the body with a secret') }),
  z.strictObject({ jwt: jwt.describe('Whoever has a token of the issuer') }),
]);

export type AuthPolicy = z.output<typeof auth>;

const limit = text(/^[1-9]\d{0,5}\/[smhd]$/, 'requests per s, m, h or d, such as 100/s');
const rate = z.union([
  limit,
  z.strictObject({
    limit: limit.describe('Requests in the long run'),
    per: z
      .enum(['key', 'address'])
      .default('key')
      .describe('Who has a limit of their own: callers by who they proved to be (else by address), or addresses'),
    burst: z.int().min(1).max(1_000_000).optional().describe('Requests at once after a pause; the limit by default'),
  }),
]);

const RANGE = 'an address or a range, such as 10.1.0.0/16 or 2001:db8::/32';
const allow = z
  .array(z.string())
  .min(1)
  .max(100)
  .superRefine((ranges, context) => {
    for (const [index, range] of ranges.entries()) {
      if (!parseRange(range)) context.addIssue({ code: 'custom', path: [index], message: RANGE });
    }
  })
  .meta({ allowed: 'a list of IPv4 and IPv6 addresses and ranges' });

const ORIGIN = /^(\*|[a-z][a-z0-9+.-]*:\/\/(\*\.)?(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:\d{1,5})?)$/;
export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
const cors = z
  .strictObject({
    origins: z
      .array(text(ORIGIN, 'an origin in lower case such as https://app.example.com or https://*.example.com, or *'))
      .min(1)
      .max(100)
      .describe('Origins of the pages that may; `*`: any page'),
    methods: z
      .array(z.enum(HTTP_METHODS))
      .min(1)
      .optional()
      .describe('Methods they may use; those of the trigger by default'),
    headers: z
      .array(fieldName)
      .max(100)
      .default(['authorization', 'content-type', 'x-api-key', 'x-request-id'])
      .describe('Headers they may send'),
    expose: z.array(fieldName).max(100).optional().describe('Headers of a reply that they may read'),
    credentials: z.boolean().default(false).describe('Whether cookies are sent along; not with `*`'),
    maxAge: quantity(parseDuration, 'a duration from 0 to 24h, such as 10m', 0, 86_400_000)
      .default(600_000)
      .describe('How long a browser remembers the answer'),
  })
  .refine(({ origins, credentials }) => !credentials || !origins.includes('*'), {
    message: 'credentials need origins by name, not *',
    path: ['credentials'],
  });
export type CorsPolicy = z.output<typeof cors>;

/** The same keys in both places. */
export const policyShape = {
  auth: auth
    .optional()
    .describe(
      'Who may call: anyone (`none`, the default), whoever has an API key or a token, or who signs: [auth.md](auth.md)',
    ),
  cors: cors.optional().describe('Which web pages may call from a browser; only those of the same origin by default'),
  rate: rate.optional().describe('How often each caller may call; without it, as often as they like'),
  allow: allow.optional().describe('Where calls may come from; anywhere by default'),
  bodyLimit: quantity(parseBytes, 'a size from 1 to 4Gi, such as 1Mi', 1, 4 * 2 ** 30)
    .optional()
    .describe('Largest request body; FN_BODY_LIMIT by default, which holds in any case'),
};

const policySchema = z.strictObject(policyShape);
/** As written: what is absent is not restricted. */
export type Policies = z.output<typeof policySchema>;

const KEYS = Object.keys(policyShape) as (keyof Policies)[];

interface PolicyHolder extends Policies {
  readonly triggers: readonly ({ readonly http: Policies } | object)[];
}

export interface FunctionPolicies {
  /** By name, by host, asynchronously. */
  readonly own: Policies;
  /** By the function's http triggers, in their order. */
  readonly http: readonly Policies[];
}

/** What holds for each way into the function. */
export function policiesOf(spec: PolicyHolder): FunctionPolicies {
  const triggers = httpTriggers(spec);
  const own = pick((key) => spec[key] ?? statedBy(triggers, key)[0]);
  return { own, http: triggers.map((trigger) => pick((key) => trigger[key] ?? own[key])) };
}

/** The keys that must be written at the top, because the http triggers disagree about them. */
export function undecidedPolicies(spec: PolicyHolder): string[] {
  return KEYS.filter((key) => spec[key] === undefined && statedBy(httpTriggers(spec), key).length > 1);
}

function httpTriggers(spec: PolicyHolder): Policies[] {
  return spec.triggers.flatMap((trigger) => ('http' in trigger ? [trigger.http] : []));
}

/** The different values that triggers give a key. */
function statedBy(triggers: readonly Policies[], key: keyof Policies): Policies[keyof Policies][] {
  const stated = triggers.map((trigger) => trigger[key]).filter((value) => value !== undefined);
  return [...new Map(stated.map((value) => [JSON.stringify(value), value])).values()];
}

function pick(valueOf: (key: keyof Policies) => unknown): Policies {
  return Object.fromEntries(
    KEYS.map((key) => [key, valueOf(key)] as const).filter(([, value]) => value !== undefined),
  ) as Policies;
}
