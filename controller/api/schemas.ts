/** What the API says and takes: the source of its types and of /openapi.json. */

import { z } from '@hono/zod-openapi';
import { FUNCTION_NAME_ALLOWED, FUNCTION_NAME_PATTERN, type FunctionName } from '../../core/ids.ts';

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    hint: z.string(),
    component: z.string().optional(),
    logs: z.array(z.string()).optional(),
  })
  .openapi('Problem');

export const nameParam = z.object({
  name: z
    .string()
    .regex(FUNCTION_NAME_PATTERN, FUNCTION_NAME_ALLOWED)
    .transform((name) => name as FunctionName)
    .openapi({ param: { name: 'name', in: 'path' }, type: 'string', example: 'hello' }),
});

export const functionSchema = z
  .object({
    name: z.string(),
    url: z.string().describe('Where the gateway serves it'),
    state: z.enum(['ready', 'idle', 'starting', 'deploying', 'failing', 'failed', 'removing']),
    revision: z.string().nullable().describe('The revision with traffic; null before the first was ready'),
    image: z.string().nullable(),
    ready: z.int().describe('Instances that can take requests'),
    desired: z.int().describe('Instances the controller wants'),
    triggers: z.array(z.string()).describe('What calls it besides its URL'),
    createdAt: z.int(),
    updatedAt: z.int(),
  })
  .openapi('Function');
export type FunctionSummary = z.output<typeof functionSchema>;

const shareSchema = z.object({ revision: z.string(), weight: z.number() });

const anyObject = z.record(z.string(), z.unknown());

export const decisionSchema = z
  .object({
    at: z.int(),
    function: z.string(),
    rule: z.string(),
    reason: z.string(),
    inputs: anyObject,
    actions: z.array(z.string()),
  })
  .openapi('Decision');

export const invocationSchema = z
  .object({
    id: z.string(),
    at: z.int().describe('When it ended, unix ms'),
    revision: z.string(),
    instance: z.string().optional(),
    method: z.string(),
    status: z.int().describe('499: the client went before its reply'),
    code: z.string().optional().describe('The error code, where the platform answered'),
    outcome: z.enum(['ok', 'error', 'timeout', 'oom', 'exit', 'signal', 'cancelled']),
    start: z.enum(['warm', 'thawed', 'claimed', 'cold']),
    wall: z.number().describe('ms from the request to the last byte of the reply'),
    cpu: z.number().describe('µs of cpu time'),
    throttled: z.number().describe('µs that the cpu quota held it back'),
    memoryPeak: z.number().optional().describe('Bytes'),
    bytesIn: z.int(),
    bytesOut: z.int(),
    shared: z.boolean().describe('Other invocations ran in the instance meanwhile'),
  })
  .openapi('Invocation');

export const detailSchema = functionSchema
  .extend({
    traffic: z.array(shareSchema),
    candidate: z.object({ revision: z.string(), since: z.int() }).optional(),
    failed: z.object({ revision: z.string(), at: z.int(), problem: problemSchema.loose() }).optional(),
    spec: anyObject.nullable().describe('The specification of the revision with traffic, or of the newest'),
    instances: z.array(anyObject).describe('Running and lately ended, newest first'),
    revisions: z.array(z.object({ id: z.string(), image: z.string(), createdAt: z.int() })).describe('Newest first'),
    aliases: z.array(z.object({ name: z.string(), targets: z.array(shareSchema) })),
    decisions: z.array(decisionSchema),
  })
  .openapi('FunctionDetail');
export type FunctionDetail = z.output<typeof detailSchema>;

export const statusSchema = z
  .object({
    version: z.string(),
    healthy: z.boolean(),
    gatewayUrl: z.string(),
    apiUrl: z.string(),
    redis: z.object({ healthy: z.boolean() }),
    processes: z.array(
      z.object({
        role: z.enum(['gateway', 'worker', 'controller', 'builder']),
        id: z.string(),
        pid: z.int(),
        healthy: z.boolean(),
        startedAt: z.int(),
        seenAt: z.int(),
        facts: anyObject.optional(),
      }),
    ),
    nodes: z.array(anyObject),
    functions: z.int(),
  })
  .openapi('Status');
export type Status = z.output<typeof statusSchema>;

/** Unix ms, or a duration back from now such as `10m`. */
export const logQuery = z.object({
  follow: z.enum(['true', 'false']).optional().describe('Keep sending lines as they come'),
  since: z.string().max(32).optional().describe('Unix ms, or how far back, such as 10m'),
  tail: z.coerce.number().int().min(0).max(100_000).optional().describe('Only the last n lines'),
  instance: z.string().max(64).optional(),
  invocation: z.string().max(128).optional(),
});
