/** The two kinds of queue a function takes jobs from. Its own, filled by POST /async/<name> and by cron: a job there is an
 *  HTTP request and its result an HTTP answer. And the ones its queue triggers name, filled by any program that uses BullMQ:
 *  a job's data is posted as JSON, and the answer becomes its return value. */

import { isUtf8 } from 'node:buffer';
import type { Job } from 'bullmq';
import { calleeOf } from '../../core/aliases.ts';
import type { Config } from '../../core/config.ts';
import { HEADERS } from '../../core/control.ts';
import type { FunctionName } from '../../core/ids.ts';
import {
  ASYNC_ATTEMPTS,
  type AsyncJob,
  type AsyncResult,
  asyncQueue,
  OWN_PREFIX,
  USER_PREFIX,
} from '../../core/queues.ts';
import type { FunctionSpec, QueueTrigger } from '../../core/spec.ts';
import type { Millis } from '../../core/units.ts';
import type { Source } from './consumer.ts';
import type { Reply } from './settle.ts';

/** Jobs at once of one queue on one node, at most; more would only wait in the gateway's room. */
const CONCURRENCY_LIMIT = 100;
/** Besides its own timeout an invocation may wait for an instance, and the gateway answers 504 a little late. */
const ANSWER_MARGIN: Millis = 30_000;
const ASYNC_RETRY = { backoff: 'exponential', delay: 1000 } as const;
/** Finished jobs of one function kept, besides the limit on their age. */
const RESULTS_KEPT = 10_000;

type Limits = Pick<Config, 'resultLimit' | 'resultTtl' | 'startTimeout'>;

/** @param spec read anew for each job: a deploy may change the timeout. */
export function asyncSource(name: FunctionName, limits: Limits, spec: () => FunctionSpec | undefined): Source {
  return {
    prefix: OWN_PREFIX,
    queue: asyncQueue(name),
    concurrency: slotsOf(spec()),
    attempts: (job) => job.opts.attempts || ASYNC_ATTEMPTS,
    retry: ASYNC_RETRY,
    keep: { ageS: Math.ceil(limits.resultTtl / 1000), count: RESULTS_KEPT },
    request: (job) => {
      const { method, path, qualifier, headers, body, base64 } = withSchedule(job);
      return {
        method,
        path: `/function/${calleeOf(name, qualifier)}${path}`,
        headers: {
          ...Object.fromEntries(Object.entries(headers).filter(([header]) => !OWN_HEADERS.includes(header))),
          [HEADERS.invocation]: invocationId(name, job),
          [HEADERS.attempt]: String(job.attemptsStarted),
        },
        body: Buffer.from(body ?? '', base64 ? 'base64' : 'utf8'),
        deadline: deadlineOf(spec(), limits),
        resultLimit: limits.resultLimit,
      };
    },
    result: ({ status, headers, body }): AsyncResult =>
      isUtf8(body)
        ? { status, headers, body: body.toString('utf8') }
        : { status, headers, body: body.toString('base64'), base64: true },
  };
}

export function queueSource(
  name: FunctionName,
  trigger: QueueTrigger,
  limits: Limits,
  spec: () => FunctionSpec | undefined,
): Source {
  return {
    prefix: USER_PREFIX,
    queue: trigger.name,
    concurrency: trigger.concurrency ?? slotsOf(spec()),
    attempts: () => trigger.attempts,
    retry: { backoff: trigger.backoff, delay: trigger.delay },
    request: (job) => ({
      method: 'POST',
      path: `/function/${name}/`,
      headers: {
        'content-type': 'application/json',
        [HEADERS.queue]: trigger.name,
        [HEADERS.jobName]: headerText(job.name),
        [HEADERS.invocation]: headerText(job.id ?? ''),
        [HEADERS.attempt]: String(job.attemptsStarted),
      },
      body: Buffer.from(JSON.stringify(job.data ?? null)),
      deadline: deadlineOf(spec(), limits),
      resultLimit: limits.resultLimit,
    }),
    result: valueOf,
  };
}

/** Set by the HTTP client itself. */
const OWN_HEADERS: readonly string[] = [
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'expect',
  'upgrade',
];

function slotsOf(spec: FunctionSpec | undefined): number {
  return spec ? Math.min(spec.scale.max * spec.concurrency, CONCURRENCY_LIMIT) : 1;
}

function deadlineOf(spec: FunctionSpec | undefined, { startTimeout }: Limits): Millis {
  return (spec?.timeout ?? 0) + startTimeout + ANSWER_MARGIN;
}

/** JSON as what it says, other text as text, no text as `{base64}`; nothing as null. */
function valueOf({ headers, body }: Reply): unknown {
  if (body.length === 0) return null;
  if (!isUtf8(body)) return { base64: body.toString('base64') };
  const text = body.toString('utf8');
  if (!/^application\/([\w.-]+\+)?json\b/i.test(headers['content-type'] ?? '')) return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A run of a cron trigger learns for which moment it was scheduled: BullMQ ends the id of such a job with it. */
function withSchedule(job: Job<unknown>): AsyncJob {
  const request = job.data as AsyncJob;
  const scheduledAt = scheduledTime(job);
  if (scheduledAt === undefined) return request;
  const body = JSON.parse(request.body ?? '{}') as Record<string, unknown>;
  return { ...request, body: JSON.stringify({ ...body, scheduledAt: new Date(scheduledAt).toISOString() }) };
}

function scheduledTime({ id, repeatJobKey }: Job<unknown>): Millis | undefined {
  return repeatJobKey === undefined ? undefined : Number(id?.slice(id.lastIndexOf(':') + 1));
}

function invocationId(name: FunctionName, job: Job<unknown>): string {
  const scheduledAt = scheduledTime(job);
  return scheduledAt === undefined ? (job.id ?? '') : `${name}.${job.repeatJobKey}-${scheduledAt}`;
}

/** Names and ids of other programs' jobs may hold anything; a header may not. */
function headerText(text: string): string {
  return (/^[\x21-\x7e]+$/.test(text) ? text : encodeURIComponent(text)).slice(0, 256);
}
