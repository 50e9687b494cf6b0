/** The bearer token of context.json. Compared as hashes, so that neither its length nor a common beginning shows in time. */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { FnError } from '../../core/errors.ts';

export function requireToken(token: string, isOpen: (path: string) => boolean): MiddlewareHandler {
  const expected = hash(token);
  return async (c, next) => {
    if (!isOpen(c.req.path)) {
      const given = /^Bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
      if (given === undefined) throw new FnError('auth.required', 'the request carries no bearer token');
      if (!timingSafeEqual(hash(given), expected)) throw new FnError('auth.required', 'the bearer token is not valid');
    }
    await next();
  };
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
