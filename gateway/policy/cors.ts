/** `cors`: which web pages may call from a browser. The gateway answers the browser's preflight itself, which wakes nobody,
 *  and says on every reply, refusals too, whether the page may read it. What a function says about it itself is taken out:
 *  two answers to one question are none, and the spec is where it is decided.
 *
 *  It restricts browsers only. Whoever is not one ignores it; for them there is `auth`. */

import { FnError } from '../../core/errors.ts';
import type { CorsPolicy } from '../../core/policies.ts';
import type { PlainReply } from '../http/write.ts';
import { valuesOf } from './fields.ts';

export interface CorsPlan {
  /** Whether a page of this origin may. */
  readonly allows: (origin: string) => boolean;
  /** Any origin, by the name `*`. */
  readonly any: boolean;
  /** Lines for replies to pages that may, after Access-Control-Allow-Origin. */
  readonly granted: string;
  /** Fields of the answer to a preflight, besides. */
  readonly preflight: Readonly<Record<string, string>>;
}

/** @param methods what a route takes; undefined: all. */
export function corsPlanOf(cors: CorsPolicy, methods: readonly string[] | undefined): CorsPlan {
  const any = cors.origins.includes('*');
  const exact = new Set(cors.origins);
  const patterns = cors.origins
    .filter((origin) => origin.includes('://*.'))
    .map((origin) => origin.split('*') as [string, string]);
  const allowed = cors.methods ?? methods ?? ALL_METHODS;
  const credentials = cors.credentials ? 'access-control-allow-credentials: true\r\n' : '';
  const expose = cors.expose ? `access-control-expose-headers: ${cors.expose.join(', ')}\r\n` : '';
  return {
    any,
    allows: (origin) =>
      any ||
      exact.has(origin) ||
      patterns.some(
        ([scheme, rest]) =>
          origin.startsWith(scheme) &&
          origin.endsWith(rest) &&
          /^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(origin.slice(scheme.length, origin.length - rest.length)),
      ),
    granted: credentials + expose,
    preflight: {
      'access-control-allow-methods': allowed.join(', '),
      'access-control-allow-headers': cors.headers.join(', '),
      'access-control-max-age': String(Math.floor(cors.maxAge / 1000)),
    },
  };
}

const ALL_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** The method that a preflight asks for; undefined when the request is none. */
export function preflightMethod(method: string, fields: string): string | undefined {
  if (method !== 'OPTIONS' || valuesOf(fields, 'origin').length !== 1) return undefined;
  return valuesOf(fields, 'access-control-request-method')[0];
}

/** Lines for the head of the reply to a request with these fields. */
export function corsFields(plan: CorsPlan, fields: string): string {
  // Not the same reply for every origin: a cache must know, also when this request had none.
  const vary = plan.any ? '' : 'vary: origin\r\n';
  const [origin, ...more] = valuesOf(fields, 'origin');
  if (origin === undefined || more.length > 0 || !plan.allows(origin)) return vary;
  return `access-control-allow-origin: ${plan.any ? '*' : origin}\r\n${plan.granted}${vary}`;
}

/** The answer to a preflight; its origin is in the lines of `corsFields`.
 *  @throws FnError origin.refused. */
export function preflightReply(plan: CorsPlan, fields: string): PlainReply {
  const origin = valuesOf(fields, 'origin')[0] ?? '';
  if (!plan.allows(origin)) {
    throw new FnError('origin.refused', `pages of ${origin.slice(0, 200)} may not call this function`);
  }
  return { status: 204, type: '', body: '', headers: plan.preflight };
}
