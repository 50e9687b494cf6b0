/** Secrets: set, listed and removed here. A value comes in once, is sealed, and no request gets it back. */

import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { FnError } from '../../core/errors.ts';
import type { SecretRecord } from '../../core/records.ts';
import { SECRET_MAX, SECRET_NAME_PATTERN, type SecretBox } from '../../core/secrets.ts';
import { type Store, update } from '../../core/store/store.ts';
import { json, problem } from './responses.ts';

/** Every gateway holds all of them, sealed, in memory. */
const SECRETS_MAX = 1000;

const secretSchema = z.object({ name: z.string(), createdAt: z.int(), updatedAt: z.int() }).openapi('Secret');
export type SecretSummary = z.output<typeof secretSchema>;

const params = z.object({
  name: z
    .string()
    .regex(SECRET_NAME_PATTERN, 'letters, digits, ".", "_" and "-", at most 63')
    .openapi({ param: { name: 'name', in: 'path' } }),
});

export function addSecretRoutes(app: OpenAPIHono, store: Store, box: SecretBox): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/secrets',
      responses: { 200: json(z.array(secretSchema), 'All secrets, by name, without their values') },
    }),
    async (c) => {
      const secrets = (await store.list('secret')).map(({ value }) => summaryOf(value));
      return c.json(
        secrets.toSorted((a, b) => a.name.localeCompare(b.name)),
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'put',
      path: '/v1/secrets/{name}',
      description: 'The body is the value. It replaces an earlier one.',
      request: {
        params,
        body: { content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } } },
      },
      responses: { 200: json(secretSchema, 'Set'), 413: problem('The value is too large') },
    }),
    async (c) => {
      const { name } = c.req.valid('param');
      const value = await readValue(c.req.raw.body);
      const known = await store.list('secret');
      if (known.length >= SECRETS_MAX && !known.some(({ key }) => key === name)) {
        throw new FnError('request.invalid', `there are ${SECRETS_MAX} secrets, which is the limit`, {
          hint: 'Remove those that are not used: fn secret ls, fn secret rm <name>.',
        });
      }
      const sealed = box.seal(name, value);
      const now = Date.now();
      await update(store, 'secret', name, (before) => ({
        name,
        sealed,
        createdAt: before?.createdAt ?? now,
        updatedAt: now,
      }));
      return c.json(
        { name, createdAt: known.find(({ key }) => key === name)?.value.createdAt ?? now, updatedAt: now },
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/secrets/{name}',
      request: { params },
      responses: { 200: json(z.object({ name: z.string() }), 'Removed'), 404: problem('No such secret') },
    }),
    async (c) => {
      const { name } = c.req.valid('param');
      if (!(await store.delete('secret', name))) throw new FnError('secret.not_found', `there is no secret ${name}`);
      return c.json({ name }, 200);
    },
  );
}

async function readValue(body: ReadableStream<Uint8Array> | null): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body ?? []) {
    size += piece.length;
    if (size > SECRET_MAX) {
      throw new FnError('body.too_large', `a secret has at most ${SECRET_MAX} bytes`, { hint: 'Send less.' });
    }
    pieces.push(piece);
  }
  if (size === 0) throw new FnError('request.invalid', 'the value is empty', { hint: 'Send it as the body.' });
  return Buffer.concat(pieces);
}

function summaryOf({ name, createdAt, updatedAt }: SecretRecord): SecretSummary {
  return { name, createdAt, updatedAt };
}
