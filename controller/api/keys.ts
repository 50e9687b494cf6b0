/** API keys of functions: made, listed and removed here, checked by gateways. The text of a key is in the reply that makes
 *  it and nowhere else. */

import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { FnError } from '../../core/errors.ts';
import { FUNCTION_NAME_PATTERN, type FunctionName } from '../../core/ids.ts';
import { KEY_NAME_PATTERN, newKey } from '../../core/keys.ts';
import type { KeyRecord } from '../../core/records.ts';
import { ConflictError, type Store } from '../../core/store/store.ts';
import { json, problem } from './responses.ts';

/** Every gateway holds all keys in memory. */
const KEYS_MAX = 10_000;
const FUNCTIONS_MAX = 100;

const keyName = z.string().regex(KEY_NAME_PATTERN, 'letters, digits, ".", "_" and "-", at most 63');

const keySchema = z
  .object({
    name: z.string(),
    id: z.string().describe('What the key begins with, after fnk_'),
    functions: z.array(z.string()).nullable().describe('What it opens; null: every function'),
    createdAt: z.int(),
    expiresAt: z.int().nullable(),
  })
  .openapi('Key');
export type KeySummary = z.output<typeof keySchema>;

const newKeySchema = keySchema.extend({ key: z.string().describe('Not shown again') }).openapi('NewKey');
export type NewKey = z.output<typeof newKeySchema>;

const creation = z.object({
  name: keyName,
  functions: z
    .array(
      z
        .string()
        .regex(FUNCTION_NAME_PATTERN, 'not a function name')
        .transform((name) => name as FunctionName),
    )
    .nonempty()
    .max(FUNCTIONS_MAX)
    .optional(),
  expiresAt: z.int().min(0).optional().describe('Unix ms'),
});

export function addKeyRoutes(app: OpenAPIHono, store: Store): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/keys',
      responses: { 200: json(z.array(keySchema), 'All API keys, by name, without their text') },
    }),
    async (c) => {
      const keys = (await store.list('key')).map(({ value }) => summaryOf(value));
      return c.json(
        keys.toSorted((a, b) => a.name.localeCompare(b.name)),
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/keys',
      request: { body: { required: true, content: { 'application/json': { schema: creation } } } },
      responses: { 200: json(newKeySchema, 'The new key, with its text'), 409: problem('There is one of this name') },
    }),
    async (c) => {
      const { name, functions, expiresAt } = c.req.valid('json');
      const now = Date.now();
      if (expiresAt !== undefined && expiresAt <= now) {
        throw new FnError('request.invalid', 'expiresAt: the key would have expired already');
      }
      if ((await store.list('key')).length >= KEYS_MAX) {
        throw new FnError('request.invalid', `there are ${KEYS_MAX} keys, which is the limit`, {
          hint: 'Remove those that are not used: fn key ls, fn key rm <name>.',
        });
      }
      const { text, id, hash } = newKey();
      const record: KeyRecord = {
        name,
        id,
        hash,
        ...(functions && { functions }),
        createdAt: now,
        ...(expiresAt !== undefined && { expiresAt }),
      };
      try {
        await store.put('key', name, record, { ifVersion: 0 });
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
        throw new FnError('key.exists', `there is a key ${name} already`, { cause: error });
      }
      return c.json({ ...summaryOf(record), key: text }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/keys/{name}',
      request: { params: z.object({ name: keyName.openapi({ param: { name: 'name', in: 'path' } }) }) },
      responses: { 200: json(z.object({ name: z.string() }), 'Revoked'), 404: problem('No such key') },
    }),
    async (c) => {
      const { name } = c.req.valid('param');
      if (!(await store.delete('key', name))) throw new FnError('key.not_found', `there is no key ${name}`);
      return c.json({ name }, 200);
    },
  );
}

function summaryOf({ name, id, functions, createdAt, expiresAt }: KeyRecord): KeySummary {
  return { name, id, functions: functions ? [...functions] : null, createdAt, expiresAt: expiresAt ?? null };
}
