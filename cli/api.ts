/** The control API as verbs use it: found through the context of FN_HOME, its problems thrown as errors of the catalogue. */

import { existsSync } from 'node:fs';
import { type Config, loadConfig, pathsOf } from '../core/config.ts';
import { type Context, readContext } from '../core/context.ts';
import { FnError, fromProblem } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';

const ANSWER_WITHIN: Millis = 30_000;
const ROOT_HOME = '/var/lib/fn';

export interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: NonNullable<RequestInit['body']>;
  readonly signal?: AbortSignal;
}

export class Api {
  readonly context: Context;

  constructor(context: Context) {
    this.context = context;
  }

  /** @throws FnError server.unreachable when no platform was ever started in this FN_HOME. */
  static async open(config: Config = loadConfig()): Promise<Api> {
    const context = await readContext(config.home);
    if (!context) {
      throw new FnError('server.unreachable', `no platform was ever started in ${config.home}`, {
        ...(rootRunsOne(config.home) && { hint: `Root runs one in ${ROOT_HOME}: put sudo before the command.` }),
      });
    }
    return new Api(context);
  }

  async get<T>(path: string): Promise<T> {
    return (await (await this.call(path)).json()) as T;
  }

  /** One JSON value a line, as they come. A line `{"event":"error","problem"}` is thrown. */
  async *lines<T extends object>(path: string, call: Call = {}): AsyncGenerator<T> {
    const response = await this.call(path, { signal: new AbortController().signal, ...call });
    for await (const line of linesOf(response)) {
      const value = JSON.parse(line) as T | { problem: unknown };
      const error = 'problem' in value ? fromProblem(value.problem) : undefined;
      if (error) throw error;
      yield value as T;
    }
  }

  /** @throws FnError what the API answered as a problem, or server.unreachable. Without a signal of the caller's the answer
   *  must come within 30 s. */
  async call(path: string, { method = 'GET', headers, body, signal }: Call = {}): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(new URL(path, this.context.apiUrl), {
        method,
        headers: { authorization: `Bearer ${this.context.token}`, ...headers },
        signal: signal ?? AbortSignal.timeout(ANSWER_WITHIN),
        ...(body !== undefined && { body, duplex: 'half' }),
      });
    } catch (error) {
      throw unreachableAt(this.context.apiUrl, error);
    }
    if (!response.ok) throw await problemOf(response);
    return response;
  }
}

/** Its context is not ours to read, but that it is there can be seen. */
function rootRunsOne(home: string): boolean {
  return home !== ROOT_HOME && process.getuid?.() !== 0 && existsSync(pathsOf(ROOT_HOME).lock);
}

/** What a reply that is not 2xx says. */
export async function problemOf(response: Response): Promise<FnError> {
  const text = await response.text();
  try {
    const found = fromProblem(JSON.parse(text));
    if (found) return found;
  } catch {
    // Not JSON: something else answers at this address.
  }
  return new FnError('server.unreachable', `${response.url} answered ${response.status}: ${text.slice(0, 200)}`);
}

/** fetch hides why it failed in the cause. */
export function unreachableAt(url: string, error: unknown): FnError {
  if (error instanceof FnError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
  return new FnError('server.unreachable', `nothing usable answers at ${url} (${why})`);
}

async function* linesOf(response: Response): AsyncGenerator<string> {
  let rest = '';
  for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    yield* lines.filter((line) => line !== '');
  }
  if (rest !== '') yield rest;
}
