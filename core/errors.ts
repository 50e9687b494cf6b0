/** The catalogue of everything that can go wrong for a user. Each error has a stable code, an HTTP status, whose fault it
 *  is, what happened, and what to type next. It leaves every process in one shape: RFC 9457 problem+json. Errors that are
 *  nobody's to fix but ours keep their `cause` and show as `internal`. docs/errors.md lists exactly these codes. */

interface ErrorKind {
  readonly status: number;
  readonly fault: 'user' | 'system';
  readonly title: string;
  readonly hint: string;
}

function kind(status: number, fault: 'user' | 'system', title: string, hint: string): ErrorKind {
  return { status, fault, title, hint };
}

export const ERRORS = {
  'address.refused': kind(
    403,
    'user',
    'The function takes no calls from this address',
    'Call from an address in allow of its fn.yaml; behind a proxy, see FN_TRUSTED_PROXIES.',
  ),
  'alias.not_found': kind(
    404,
    'user',
    'The function has no such alias or revision',
    'See "fn alias ls"; a revision can be called by its number while it has traffic or an alias.',
  ),
  'auth.required': kind(401, 'user', 'A valid token is required', 'Send the bearer token from context.json.'),
  'body.too_large': kind(
    413,
    'user',
    'The body is over the limit',
    'Send less, or raise bodyLimit in fn.yaml or FN_BODY_LIMIT.',
  ),
  'build.failed': kind(422, 'user', 'The build failed', 'Fix what the output above names and deploy again.'),
  'build.dependency': kind(
    422,
    'user',
    'A dependency could not be installed',
    'Run "npm ci" in the function\'s directory to see the same failure.',
  ),
  'capacity.max_reached': kind(
    429,
    'user',
    'All instances are busy and the function is at scale.max',
    'Retry after the time in Retry-After, or raise scale.max or concurrency in fn.yaml.',
  ),
  'capacity.queue_full': kind(
    429,
    'user',
    'Too many requests are waiting for this function',
    'Retry after the time in Retry-After, or use POST /async/<name>.',
  ),
  'capacity.node_full': kind(
    503,
    'system',
    'The node has no room for another instance',
    'Stop something ("fn ls", "fn rm <name>") or add memory.',
  ),
  'deploy.conflict': kind(409, 'user', 'Another deploy changed the function first', 'Deploy again.'),
  'function.backoff': kind(
    503,
    'user',
    'The function keeps failing to start',
    'See "fn logs <name>"; it is tried again after the back-off, or at once on the next deploy.',
  ),
  'function.bad_reply': kind(502, 'user', 'The function sent a reply that is not valid HTTP', 'See "fn logs <name>".'),
  'function.crashed': kind(
    502,
    'user',
    'The function exited before it replied',
    'See "fn logs <name>"; an uncaught error or process.exit() ends an instance.',
  ),
  'function.error': kind(
    502,
    'user',
    'The function answered a job with an error',
    'See "fn logs <name>"; a job is done when the answer is 2xx.',
  ),
  'function.killed': kind(
    502,
    'system',
    'The instance was ended by a signal',
    'See "fn logs <name>": native code that crashed, abort(), a kill. A new instance starts with the next call.',
  ),
  'function.load_failed': kind(
    502,
    'user',
    'The function failed to load',
    'Fix the error above; "fn logs <name>" has the last lines.',
  ),
  'function.not_found': kind(404, 'user', 'No such function', 'See "fn ls", or deploy it with "fn deploy".'),
  'function.not_ready': kind(
    503,
    'user',
    'The function has no ready revision yet',
    'Its first deploy has not succeeded: see "fn inspect <name>".',
  ),
  'function.oom': kind(502, 'user', 'The function ran out of memory', 'Raise memory in fn.yaml, or hold less at once.'),
  'function.start_timeout': kind(
    504,
    'user',
    'The function did not become ready in time',
    'Do less while loading, or look for something that never ends at module level.',
  ),
  'function.timeout': kind(
    504,
    'user',
    'The function did not reply within its timeout',
    'Raise timeout in fn.yaml, or use POST /async/<name> for long work.',
  ),
  'handler.missing': kind(
    422,
    'user',
    'The handler does not exist',
    'Set handler in fn.yaml to "<file without suffix>.<export>".',
  ),
  'image.invalid': kind(422, 'user', 'The image is not valid', 'Build it again.'),
  'invocation.not_found': kind(
    404,
    'user',
    'No such invocation',
    'Check the id; finished invocations are kept for FN_RESULT_TTL_MS.',
  ),
  internal: kind(500, 'system', 'Something in fn itself failed', 'Retry; if it stays, report it with the request id.'),
  'key.exists': kind(
    409,
    'user',
    'There is a key of this name',
    'Remove it with "fn key rm <name>", or choose another name.',
  ),
  'key.invalid': kind(
    401,
    'user',
    'The API key is not valid',
    'It is mistyped, revoked or expired: see "fn key ls", make another with "fn key create <name>".',
  ),
  'key.not_found': kind(404, 'user', 'No such key', 'See "fn key ls".'),
  'key.refused': kind(
    403,
    'user',
    'The API key is for other functions',
    'Make one for this function: "fn key create <name> --function <function>".',
  ),
  'key.required': kind(
    401,
    'user',
    'The function wants an API key',
    'Make one with "fn key create <name>" and send it as "Authorization: Bearer fnk_…".',
  ),
  'machine.unsupported': kind(
    500,
    'system',
    'This machine lacks something fn needs',
    'Install or enable what the detail names.',
  ),
  'network.unavailable': kind(
    503,
    'system',
    'This machine cannot give functions a network',
    'Install or enable what the detail names, or set network.egress to none in fn.yaml.',
  ),
  'origin.refused': kind(
    403,
    'user',
    'Pages of this origin may not call the function',
    'Add the origin to cors.origins in fn.yaml.',
  ),
  'package.invalid': kind(
    422,
    'user',
    'The uploaded package cannot be used',
    'Deploy the directory with "fn deploy <dir>".',
  ),
  'port.in_use': kind(500, 'user', 'The port is taken', 'Stop what uses it, or set FN_GATEWAY_PORT and FN_API_PORT.'),
  'process.down': kind(503, 'system', 'A part of the platform is restarting', 'Retry in a second; see "fn status".'),
  'rate.exceeded': kind(
    429,
    'user',
    'Too many calls from this caller',
    'Retry after the time in Retry-After, or raise rate in fn.yaml.',
  ),
  'redis.unavailable': kind(503, 'system', 'Redis does not answer', 'Nothing was accepted. Retry; see "fn status".'),
  'redis.unsafe': kind(
    500,
    'user',
    'Redis is configured so that accepted jobs could be lost',
    'redis-cli CONFIG SET appendonly yes; redis-cli CONFIG SET maxmemory-policy noeviction',
  ),
  'request.head_too_large': kind(431, 'user', 'The head of the request is too large', 'Send fewer or shorter headers.'),
  'request.invalid': kind(400, 'user', 'The request is not valid', 'See docs/api.md.'),
  'request.method_refused': kind(405, 'user', 'The method is not served at this path', 'Use a method named in Allow.'),
  'request.timeout': kind(408, 'user', 'The request did not arrive in time', 'Send it faster, or in smaller pieces.'),
  'route.conflict': kind(
    409,
    'user',
    'Another function has this route',
    'Change triggers.http in one of the two fn.yaml files and deploy again.',
  ),
  'route.not_found': kind(404, 'user', 'Nothing is served at this path', 'Functions are at /function/<name>.'),
  'secret.missing': kind(
    503,
    'user',
    'A secret that the function needs does not exist',
    'Set it with "fn secret set <name>".',
  ),
  'secret.not_found': kind(404, 'user', 'No such secret', 'See "fn secret ls".'),
  'secret.unreadable': kind(
    503,
    'system',
    'A secret cannot be opened',
    'FN_HOME/master.key must be the file it was sealed with, on every machine. Else set the secret again.',
  ),
  'server.running': kind(
    409,
    'user',
    'A platform is already running in this FN_HOME',
    'Stop it with Ctrl-C where it runs, or use another FN_HOME and other ports.',
  ),
  'signature.invalid': kind(
    401,
    'user',
    'The signature of the request is not valid',
    'Sender and function must have the same secret ("fn secret set <name>"), and the scheme in fn.yaml be the sender\'s.',
  ),
  'spec.invalid': kind(422, 'user', 'fn.yaml is not valid', 'docs/fn-yaml.md lists every key.'),
  'spec.missing': kind(
    422,
    'user',
    'There is no fn.yaml here',
    'Make one with "fn init <dir>", or name the function\'s directory: "fn deploy <dir>".',
  ),
  'storage.full': kind(507, 'system', 'The disk is full', 'Free space where FN_HOME lies: "fn rm" what is not needed.'),
  'tls.unusable': kind(
    500,
    'user',
    'The TLS certificate cannot be used',
    'FN_TLS_CERT and FN_TLS_KEY name PEM files that belong together: docs/tls.md.',
  ),
  'token.invalid': kind(
    401,
    'user',
    'The token is not valid',
    'Get a new one from its issuer; issuer, audience and algorithms must be those in fn.yaml.',
  ),
  'token.required': kind(
    401,
    'user',
    'The function wants a token',
    'Send one of its issuer as "Authorization: Bearer <token>".',
  ),
  'token.unverifiable': kind(
    503,
    'user',
    'The token cannot be checked, because the keys of its issuer cannot be had',
    'The gateway must reach jwksUri in fn.yaml.',
  ),
  'usage.invalid': kind(400, 'user', 'The command is not valid', 'See "fn help".'),
  'server.unreachable': kind(
    503,
    'user',
    'The platform does not answer',
    'Start it with "npm start" or "fn server"; FN_HOME must be the same for both.',
  ),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export interface FnErrorOptions {
  readonly cause?: unknown;
  /** Replaces the catalogue's hint where the place knows better what to type next. */
  readonly hint?: string;
  /** Seconds, for Retry-After. */
  readonly retryAfterS?: number;
  /** The function's last log lines, oldest first. */
  readonly logs?: readonly string[];
  /** Further facts for programs (never secrets). */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** RFC 9457, with our members `code`, `component`, `requestId`, `hint`, `logs`. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly component?: string;
  readonly requestId?: string;
  readonly hint: string;
  readonly retryAfterS?: number;
  readonly logs?: readonly string[];
  readonly data?: Readonly<Record<string, unknown>>;
}

/** An error of the catalogue. `message` is the detail: what happened this time, in one sentence. */
export class FnError extends Error {
  override readonly name = 'FnError';
  readonly code: ErrorCode;
  readonly options: FnErrorOptions;

  constructor(code: ErrorCode, detail: string, options: FnErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.options = options;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get hint(): string {
    return this.options.hint ?? ERRORS[this.code].hint;
  }

  toProblem(context: { component?: string; requestId?: string } = {}): Problem {
    const { retryAfterS, logs, data } = this.options;
    return {
      type: `urn:fn:error:${this.code}`,
      title: ERRORS[this.code].title,
      status: this.status,
      code: this.code,
      detail: this.message,
      ...context,
      hint: this.hint,
      ...(retryAfterS !== undefined && { retryAfterS }),
      ...(logs && logs.length > 0 && { logs }),
      ...(data && { data }),
    };
  }
}

/** Anything thrown, as an FnError. What is not ours becomes `internal` and keeps its cause. */
export function toFnError(error: unknown): FnError {
  if (error instanceof FnError) return error;
  if (isDiskFull(error)) return new FnError('storage.full', 'nothing can be written', { cause: error });
  return new FnError('internal', error instanceof Error ? error.message : String(error), { cause: error });
}

/** Said by the system, or by Redis about its append-only file. */
function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (error as NodeJS.ErrnoException).code === 'ENOSPC' || /^MISCONF .*No space left/.test(error.message);
}

/** Rebuilds an error that crossed a process boundary as a problem; undefined when the value is not one. */
export function fromProblem(value: unknown): FnError | undefined {
  if (typeof value !== 'object' || value === null || !('code' in value) || !('detail' in value)) return undefined;
  const problem = value as Problem;
  if (!Object.hasOwn(ERRORS, problem.code)) return undefined;
  const { hint, retryAfterS, logs, data } = problem;
  return new FnError(problem.code, problem.detail, {
    hint,
    ...(retryAfterS !== undefined && { retryAfterS }),
    ...(logs && { logs }),
    ...(data && { data }),
  });
}

/** Ends a `switch` over a union: the compiler refuses a forgotten case, the run refuses a value from outside. */
export function unreachable(value: never): never {
  throw new FnError('internal', `unexpected value ${JSON.stringify(value)}`);
}
