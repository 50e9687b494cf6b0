/** What `npm start` shows: every example of functions/ deployed, called once in the way its example.json says, and the
 *  commands to call it again. A sample that fails is shown and does not stop the others. */

import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sleep, systemClock } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import { openQueue, USER_PREFIX } from '../../core/queues.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { queueTriggers } from '../../core/spec.ts';
import { parseSpecFile } from '../../core/spec-file.ts';
import { formatBytes, type Millis } from '../../core/units.ts';
import { Api, problemOf } from '../api.ts';
import { deployDirectory, type DeployStep } from '../deploy.ts';
import { describeProblem } from '../failure.ts';
import { waitForInvocation } from '../invocation.ts';
import { dim } from '../output.ts';
import type { Reporter } from './reporter.ts';
import type { Platform } from './supervisor.ts';

const FUNCTIONS = fileURLToPath(new URL('../../functions', import.meta.url));
const SHOWN_REPLY = 100;
const JOB_WITHIN: Millis = 60_000;

/** functions/<name>/example.json */
export interface Sample {
  /** http: call its URL. queue: add a job and wait for its result. cron: as the schedule would. */
  readonly via: 'http' | 'queue' | 'cron';
  readonly method?: string;
  /** What follows /function/<name>. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text as it is; anything else as JSON. */
  readonly body?: unknown;
  /** A file beside example.json. */
  readonly bodyFile?: string;
}

export async function showExamples(platform: Platform, reporter: Reporter, signal: AbortSignal): Promise<void> {
  const api = new Api(platform.context);
  reporter.say('\nDeploying the examples of functions/');
  const deployed: { name: string; directory: string; url: string }[] = [];
  for (const directory of await exampleDirectories()) {
    const short = relative(FUNCTIONS, directory);
    const began = performance.now();
    const done = await attempt(reporter, short, signal, () =>
      deployDirectory(api, directory, (step) => slowStep(reporter, short, step), signal),
    );
    if (!done) continue;
    deployed.push({ name: done.name, directory, url: done.url });
    reporter.done(done.name, done.unchanged ? `${done.revision}, unchanged` : done.revision, performance.now() - began);
  }

  reporter.say('\nCalling each once');
  for (const { name, directory } of deployed) {
    await attempt(reporter, name, signal, async () => {
      const sample = await readSample(directory);
      const began = performance.now();
      const reply = await callSample(platform, name, directory, sample, signal);
      reporter.done(name, reply, performance.now() - began);
    });
  }

  const fn = commandOf(platform.config.home);
  reporter.say('\nTry');
  for (const { name, directory, url } of deployed) reporter.say(`  ${await commandFor(name, url, directory, fn)}`);
  reporter.say(`  ${fn} ls ${dim('and logs <name> -f, inspect <name>, status, help')}\n`);
}

/** Directories of functions/ that hold an fn.yaml, in order of their names. */
export async function exampleDirectories(): Promise<string[]> {
  const entries = await readdir(FUNCTIONS, { withFileTypes: true }).catch(() => []);
  const found: string[] = [];
  for (const entry of entries.toSorted((a, b) => a.name.localeCompare(b.name))) {
    const directory = join(FUNCTIONS, entry.name);
    if (entry.isDirectory() && (await readdir(directory)).includes('fn.yaml')) found.push(directory);
  }
  return found;
}

export async function readSample(directory: string): Promise<Sample> {
  const text = await readFile(join(directory, 'example.json'), 'utf8').catch(() => undefined);
  return text === undefined ? { via: 'http' } : (JSON.parse(text) as Sample);
}

/** Steps that take long are worth a line; the others are summed up in the one at the end. */
function slowStep(reporter: Reporter, name: string, { step, text, ms }: DeployStep): void {
  if (ms > 1000) reporter.done(name, `${step}: ${text}`, ms);
}

/** A failure is shown and left behind: the other examples still count. */
async function attempt<T>(
  reporter: Reporter,
  name: string,
  signal: AbortSignal,
  action: () => Promise<T>,
): Promise<T | undefined> {
  using _ = systemClock.after(1000, () => reporter.done(name, '…'));
  try {
    return await action();
  } catch (error) {
    signal.throwIfAborted();
    reporter.warn(name, describeProblem(toFnError(error).toProblem()));
    return undefined;
  }
}

/** Calls the function as its sample says. @returns the reply in a few words. */
async function callSample(
  { config, context }: Platform,
  name: string,
  directory: string,
  sample: Sample,
  signal: AbortSignal,
): Promise<string> {
  const body = await bodyOf(sample, directory);
  if (sample.via === 'queue') return runJob(config, directory, body, signal);
  const kind = sample.via === 'cron' ? 'async' : 'function';
  const response = await fetch(`${context.gatewayUrl}/${kind}/${name}${sample.path ?? ''}`, {
    method: sample.method ?? (body === undefined && sample.via === 'http' ? 'GET' : 'POST'),
    headers: sample.headers ?? {},
    signal,
    ...(body !== undefined && { body }),
  });
  if (response.headers.has('x-fn-error') || (sample.via === 'cron' && !response.ok)) throw await problemOf(response);
  if (sample.via === 'http') {
    return `${response.status} ${describeBody(await response.bytes(), response.headers.get('content-type') ?? '')}`;
  }
  const { id } = (await response.json()) as { id: string };
  const { result } = await waitForInvocation(context.gatewayUrl, id, signal);
  return `ran as a job: ${describeBody(Buffer.from(result?.body ?? '', result?.base64 ? 'base64' : 'utf8'), 'text/plain')}`;
}

async function bodyOf(
  { body, bodyFile }: Sample,
  directory: string,
): Promise<string | Uint8Array<ArrayBuffer> | undefined> {
  if (bodyFile !== undefined) return Uint8Array.from(await readFile(join(directory, bodyFile)));
  return body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
}

/** What any program with BullMQ would do: add a job to the queue and read its result. */
async function runJob(
  config: Config,
  directory: string,
  body: string | Uint8Array | undefined,
  signal: AbortSignal,
): Promise<string> {
  const spec = parseSpecFile(await readFile(join(directory, 'fn.yaml'), 'utf8'));
  const [trigger] = queueTriggers(spec);
  if (!trigger) throw new FnError('spec.invalid', 'example.json says queue, but fn.yaml has no queue trigger');
  const redis = connectRedis(config, 'failFast');
  const queue = openQueue(trigger.name, redis, { prefix: USER_PREFIX });
  try {
    await waitForRedis(redis, 5000);
    const { id = '' } = await queue.add('example', JSON.parse(String(body ?? '{}')) as unknown);
    const end = performance.now() + JOB_WITHIN;
    for (;;) {
      const job = await queue.getJob(id);
      if (job?.finishedOn !== undefined) {
        if (job.failedReason) throw new FnError('function.crashed', `the job failed: ${job.failedReason}`);
        return `job ${id} of queue ${trigger.name}: ${shorten(JSON.stringify(job.returnvalue))}`;
      }
      if (performance.now() > end)
        throw new FnError('function.timeout', `job ${id} of queue ${trigger.name} did not end`);
      await sleep(20, signal);
    }
  } finally {
    await queue.close().catch(() => {});
    redis.disconnect();
  }
}

function describeBody(bytes: Uint8Array, type: string): string {
  if (isText(type)) return shorten(Buffer.from(bytes).toString('utf8'));
  return `${type || 'no type'}, ${formatBytes(bytes.length)}`;
}

function shorten(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ');
  return line.length > SHOWN_REPLY ? `${line.slice(0, SHOWN_REPLY)}…` : line;
}

/** How the CLI is called for this platform: as root, and with its home where that is not the default. */
function commandOf(home: string): string {
  const words = [
    process.env['SUDO_USER'] === undefined ? '' : 'sudo',
    home === '/var/lib/fn' ? '' : `FN_HOME=${home}`,
    './fn',
  ];
  return words.filter(Boolean).join(' ');
}

/** What to type to call it again. */
async function commandFor(name: string, url: string, directory: string, fn: string): Promise<string> {
  const { via, method, path = '', headers = {}, body, bodyFile } = await readSample(directory);
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const words = via === 'http' ? ['curl'] : [fn, 'invoke', name, '--async', '--wait'];
  if (method !== undefined && method !== 'GET' && method !== 'POST') words.push('-X', method);
  for (const [key, value] of Object.entries(headers)) words.push('-H', `'${key}: ${value}'`);
  if (text !== undefined) words.push('--data', `'${text}'`);
  if (via !== 'http') return words.join(' ');
  if (bodyFile !== undefined) words.push('--data-binary', `@${relative(process.cwd(), join(directory, bodyFile))}`);
  if (bodyFile !== undefined && !isText(headers['content-type'] ?? '')) words.push('--output', 'reply');
  return [...words, `'${url}${path}'`].join(' ');
}

function isText(type: string): boolean {
  return /^(text\/|application\/(json|.*\+json))/.test(type);
}
