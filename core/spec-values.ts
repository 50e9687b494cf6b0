/** Values of fn.yaml that are more than JSON types, with what is allowed said once, for messages and for documentation. */

import { z } from 'zod';

/** A value with a unit. Accepts the number too, so that a stored specification parses again to itself. */
export function quantity(
  parse: (text: string | number) => number | undefined,
  allowed: string,
  min: number,
  max: number,
) {
  return z
    .union([z.string(), z.number()], allowed)
    .transform((value, context) => {
      const parsed = typeof value === 'number' && Number.isInteger(value) ? value : parse(value);
      if (parsed === undefined || parsed < min || parsed > max) {
        context.addIssue({ code: 'custom', message: allowed });
        return z.NEVER;
      }
      return parsed;
    })
    .meta({ allowed });
}

/** `allowed` says in messages and in the documentation what the pattern says to machines. */
export function text(pattern: RegExp, allowed: string) {
  return z.string().regex(pattern, allowed).meta({ allowed });
}
