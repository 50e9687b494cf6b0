/** What fn.yaml may say. The schema is the single source: the parser, the API's OpenAPI document, docs/fn-yaml.md and the
 *  types all derive from it. Text with units goes in, numbers come out (ms, bytes, thousandths of a core), and every key
 *  but `name` has a default. Unknown keys are errors; core/spec-file.ts turns them into messages with line numbers. */

import { z } from 'zod';
import { STICKY_ALLOWED, STICKY_PATTERN } from './aliases.ts';
import { EGRESS_LIST_LIMIT, EGRESS_POLICIES, parseDestination } from './egress.ts';
import { FUNCTION_NAME_ALLOWED, FUNCTION_NAME_PATTERN, type FunctionName } from './ids.ts';
import { HTTP_METHODS, policyShape, undecidedPolicies } from './policies.ts';
import { SECRET_NAME_PATTERN } from './secrets.ts';
import { quantity, text } from './spec-values.ts';
import { parseBytes, parseCpu, parseDuration } from './units.ts';

/** The keys whose values carry a unit. In fn.yaml a bare number of them is text: `cpu: 2` means two cores, not 2m. */
export const QUANTITY_KEYS: ReadonlySet<string> = new Set([
  'memory',
  'cpu',
  'timeout',
  'idle',
  'delay',
  'bodyLimit',
  'maxAge',
  'tolerance',
  'clockTolerance',
]);

const duration = (allowed: string, min: number, max: number) => quantity(parseDuration, allowed, min, max);

const httpTrigger = z.strictObject({
  path: text(/^\/[^\s?#]*$/, 'a path that starts with /').describe(
    'Path at the gateway; a `*` at the end matches everything below',
  ),
  host: text(
    /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/,
    'a host name in lower case, such as api.example.com',
  )
    .optional()
    .describe('Host the path is served at; all of them by default'),
  methods: z.array(z.enum(HTTP_METHODS)).nonempty().optional().describe('Methods that match; all of them by default'),
  ...policyShape,
});

const queueTrigger = z.strictObject({
  name: text(/^[\w.-]{1,80}$/, 'letters, digits, ".", "_" and "-", at most 80').describe('The BullMQ queue to consume'),
  attempts: z.int().min(1).max(100).default(5).describe('Times a job is tried before it is kept as failed'),
  backoff: z.enum(['exponential', 'fixed']).default('exponential').describe('How the wait between attempts grows'),
  delay: duration('a duration from 10ms to 1h, such as 1s', 10, 3_600_000)
    .default(1000)
    .describe('Wait before the second attempt'),
  concurrency: z.int().min(1).max(1000).optional().describe('Jobs at once; scale.max × concurrency by default'),
});

const cronTrigger = z.strictObject({
  schedule: z.string().min(1).describe('Cron expression with five or six fields'),
  timezone: z.string().default('UTC').describe('IANA time zone the schedule is read in'),
});

const trigger = z.union([
  z.strictObject({ http: httpTrigger }),
  z.strictObject({ queue: queueTrigger }),
  z.strictObject({ cron: cronTrigger }),
]);

const EGRESS = `${EGRESS_POLICIES.join(', ')}, or a list of at most ${EGRESS_LIST_LIMIT} IPv4 ranges and host names`;

const egress = z
  .union([z.enum(EGRESS_POLICIES), z.array(z.string()).min(1).max(EGRESS_LIST_LIMIT)], EGRESS)
  .superRefine((value, context) => {
    if (typeof value === 'string') return;
    for (const [index, destination] of value.entries()) {
      if (parseDestination(destination)) continue;
      const message = 'an IPv4 range such as 10.1.0.0/16, or a host name';
      context.addIssue({ code: 'custom', path: [index], message });
    }
  })
  .meta({ allowed: EGRESS });

export const RUNTIMES = ['node'] as const;
export type Runtime = (typeof RUNTIMES)[number];

/** Of one function. */
const SECRETS_LIMIT = 64;
const VARIABLE_PATTERN = /^[A-Za-z_][A-Za-z0-9_]*$/;

export const specSchema = z
  .strictObject({
    name: text(FUNCTION_NAME_PATTERN, FUNCTION_NAME_ALLOWED)
      .transform((text) => text as FunctionName)
      .describe('What the function is called, and its path at the gateway'),
    runtime: z.enum(RUNTIMES).default('node').describe('What runs the code'),
    handler: text(/^[\w./-]+\.[\w$]+$/, '<file without suffix>.<export>, such as index.handler')
      .refine((text) => !text.startsWith('/') && !text.split('/').includes('..'), 'a file inside the directory')
      .default('index.default')
      .describe('File (without suffix) and export that answer invocations'),
    memory: quantity(parseBytes, 'a size from 64Mi to 64Gi, such as 256Mi', 64 * 2 ** 20, 64 * 2 ** 30)
      .default(256 * 2 ** 20)
      .describe('Hard memory limit of one instance'),
    cpu: quantity(parseCpu, 'cores from 10m to 64, such as 500m or 2', 10, 64_000)
      .default(1000)
      .describe('CPU quota of one instance'),
    timeout: duration('a duration from 100ms to 24h, such as 30s', 100, 86_400_000)
      .default(30_000)
      .describe('The one limit on an invocation: gateway, job lock, kill and deadline header all derive from it'),
    isolation: z
      .enum(['instance', 'invocation'])
      .default('instance')
      .describe('`invocation`: every call gets a fresh sandbox, which is destroyed afterwards'),
    concurrency: z.int().min(1).max(1000).default(1).describe('Invocations at once in one instance'),
    scale: z
      .strictObject({
        min: z.int().min(0).max(1000).default(0).describe('Instances kept ready'),
        max: z.int().min(1).max(1000).default(20).describe('Instances at most'),
        target: z.number().gt(0).max(1).default(0.7).describe('Share of the slots the autoscaler aims to have busy'),
        idle: duration('a duration from 1s to 24h, such as 60s', 1000, 86_400_000)
          .default(60_000)
          .describe('Time without an invocation after which instances above min stop'),
      })
      .refine((scale) => scale.min <= scale.max, { message: 'scale.min must not exceed scale.max', path: ['min'] })
      .prefault({})
      .describe('How many instances'),
    sticky: text(STICKY_PATTERN, STICKY_ALLOWED)
      .optional()
      .describe('While traffic is divided, requests with the same value of it go to the same revision'),
    env: z
      .record(
        text(VARIABLE_PATTERN, 'a variable name'),
        z.union([z.string(), z.number(), z.boolean()], 'text, a number, true or false').transform(String),
      )
      .default({})
      .describe('Environment variables'),
    secrets: z
      .record(text(VARIABLE_PATTERN, 'a variable name'), text(SECRET_NAME_PATTERN, 'the name of a secret'))
      .refine((secrets) => Object.keys(secrets).length <= SECRETS_LIMIT, `at most ${SECRETS_LIMIT}`)
      .optional()
      .describe('Environment variables whose values are secrets (`fn secret set`), by name of the secret'),
    network: z
      .strictObject({ egress: egress.default('none').describe('What the function may open connections to') })
      .prefault({})
      .describe('Connections to the outside'),
    ...policyShape,
    triggers: z.array(trigger).max(20).default([]).describe('What calls the function besides /function/<name>'),
  })
  .refine(({ isolation, concurrency }) => isolation === 'instance' || concurrency === 1, {
    message: 'concurrency must be 1 with isolation: invocation',
    path: ['concurrency'],
  })
  .superRefine(({ env, secrets }, context) => {
    for (const variable of Object.keys(secrets ?? {}).filter((name) => Object.hasOwn(env, name))) {
      context.addIssue({ code: 'custom', path: ['secrets', variable], message: 'is in env already' });
    }
  })
  .superRefine((spec, context) => {
    for (const key of undecidedPolicies(spec)) {
      const message = `must be written at the top as well, for /function/${spec.name}: the http triggers differ`;
      context.addIssue({ code: 'custom', path: [key], message });
    }
  })
  .describe('One function');

/** fn.yaml as written: units as text, defaults left out. */
export type FunctionSpecInput = z.input<typeof specSchema>;
/** The specification in use: every key present; ms, bytes, thousandths of a core. */
export type FunctionSpec = z.output<typeof specSchema>;
export type Trigger = FunctionSpec['triggers'][number];
export type QueueTrigger = Extract<Trigger, { queue: unknown }>['queue'];
export type HttpTrigger = Extract<Trigger, { http: unknown }>['http'];
export type CronTrigger = Extract<Trigger, { cron: unknown }>['cron'];

export function queueTriggers(spec: FunctionSpec): readonly QueueTrigger[] {
  return spec.triggers.flatMap((one) => ('queue' in one ? [one.queue] : []));
}

export function httpTriggers(spec: FunctionSpec): readonly HttpTrigger[] {
  return spec.triggers.flatMap((one) => ('http' in one ? [one.http] : []));
}

export function cronTriggers(spec: FunctionSpec): readonly CronTrigger[] {
  return spec.triggers.flatMap((one) => ('cron' in one ? [one.cron] : []));
}
