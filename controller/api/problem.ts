/** Every error of the API leaves as problem+json, made from an FnError. What is not one of ours becomes `internal`, is
 *  logged with its cause, and shows neither stack nor path. */

import type { ErrorHandler, NotFoundHandler } from 'hono';
import { FnError, type Problem, toFnError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';

const CONNECTION_LOST = ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT'];

export function notFound(): NotFoundHandler {
  return (c) => {
    const hint = 'See /openapi.json for what there is.';
    return respond(new FnError('route.not_found', `${c.req.method} ${c.req.path} is not served`, { hint }));
  };
}

export function onError(log: Log): ErrorHandler {
  return (error, c) => {
    const known = asFnError(error);
    if (known.code === 'internal') log.error({ err: known, method: c.req.method, path: c.req.path }, 'request failed');
    return respond(known);
  };
}

export function problemOf(error: FnError): Problem {
  // What failed inside is for our log, not for a client.
  const shown = error.code === 'internal' ? new FnError('internal', 'the control API failed; see its log') : error;
  return shown.toProblem({ component: 'controller' });
}

/** As toFnError, but knows how Redis shows that it is away, and a client that went away. */
export function asFnError(error: unknown): FnError {
  if (error instanceof Error && error.name === 'AbortError') {
    return new FnError('request.invalid', 'the client went away', { cause: error });
  }
  return isRedisAway(error)
    ? new FnError('redis.unavailable', 'Redis does not answer', { cause: error })
    : toFnError(error);
}

function isRedisAway(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof FnError) return false;
  const code = 'code' in error ? String(error.code) : '';
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    /Connection is closed|Stream isn't writeable|Command timed out|LOADING|max retries per request/.test(
      error.message,
    ) ||
    ('syscall' in error && CONNECTION_LOST.includes(code))
  );
}

function respond(error: FnError): Response {
  const problem = problemOf(error);
  const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'x-fn-error': problem.code };
  if (problem.code === 'auth.required') headers['www-authenticate'] = 'Bearer';
  if (problem.retryAfterS !== undefined) headers['retry-after'] = String(problem.retryAfterS);
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers,
  });
}
