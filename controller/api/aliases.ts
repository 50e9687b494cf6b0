/** Aliases of functions: listed, set and removed. Setting one is one write of the function's record; gateways follow it, and
 *  the reconciler keeps the revisions. */

import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import {
  ALIAS_PATTERN,
  ALIASES_MAX,
  calleeOf,
  STICKY_ALLOWED,
  STICKY_PATTERN,
  TARGETS_MAX,
} from '../../core/aliases.ts';
import type { Context } from '../../core/context.ts';
import { FnError } from '../../core/errors.ts';
import { FUNCTION_NAME_PATTERN, type FunctionName, type RevisionId } from '../../core/ids.ts';
import type { Alias, FunctionRecord, RevisionRecord, Share } from '../../core/records.ts';
import type { ServiceContext } from '../../core/service.ts';
import { ConflictError, type Store, update } from '../../core/store/store.ts';
import type { Millis } from '../../core/units.ts';
import { routed } from '../gateway-view.ts';
import { json, problem } from './responses.ts';
import { nameParam } from './schemas.ts';

const ROUTED_WITHIN: Millis = 3000;

const share = z.object({ revision: z.string(), weight: z.int().min(0).max(100).describe('Per cent') });

const aliasSchema = z
  .object({
    function: z.string(),
    name: z.string(),
    targets: z.array(share),
    sticky: z.string().nullable().describe(STICKY_ALLOWED),
    url: z.string().describe('Where the gateway serves it'),
  })
  .openapi('Alias');
export type AliasSummary = z.output<typeof aliasSchema>;

const setting = z.object({
  targets: z
    .array(share)
    .min(1)
    .max(TARGETS_MAX)
    .refine((targets) => targets.reduce((sum, { weight }) => sum + weight, 0) === 100, 'the weights must sum to 100')
    .refine(
      (targets) => new Set(targets.map((one) => one.revision)).size === targets.length,
      'the revisions must differ',
    ),
  sticky: z.string().regex(STICKY_PATTERN, STICKY_ALLOWED).optional(),
});

const aliasParam = nameParam.extend({
  alias: z
    .string()
    .regex(ALIAS_PATTERN, 'an alias is lower-case letters, digits and "-", at most 32, and starts with a letter')
    .openapi({ param: { name: 'alias', in: 'path' }, example: 'live' }),
});

export function addAliasRoutes(app: OpenAPIHono, { config, store }: ServiceContext, access: Context): void {
  const summaryOf = (name: FunctionName, alias: string, { targets, sticky }: Alias): AliasSummary => ({
    function: name,
    name: alias,
    targets: targets.map((one) => ({ ...one })),
    sticky: sticky ?? null,
    url: `${access.gatewayUrl}/function/${calleeOf(name, alias)}`,
  });

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/aliases',
      request: { query: z.object({ function: z.string().regex(FUNCTION_NAME_PATTERN).optional() }) },
      responses: { 200: json(z.array(aliasSchema), 'All aliases, or those of a function, by name') },
    }),
    async (c) => {
      const { function: only } = c.req.valid('query');
      const functions = only === undefined ? (await store.list('function')).map(({ value }) => value) : [];
      if (only !== undefined) functions.push(existing(only, (await store.get('function', only))?.value));
      const all = functions.flatMap(({ name, aliases }) =>
        Object.entries(aliases ?? {}).map(([alias, value]) => summaryOf(name, alias, value)),
      );
      return c.json(
        all.toSorted((a, b) => a.function.localeCompare(b.function) || a.name.localeCompare(b.name)),
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'put',
      path: '/v1/functions/{name}/aliases/{alias}',
      request: {
        params: aliasParam,
        body: { required: true, content: { 'application/json': { schema: setting } } },
      },
      responses: {
        200: json(aliasSchema, 'The alias, once this node’s gateway follows it'),
        404: problem('No such function or revision'),
      },
    }),
    async (c) => {
      const { name, alias } = c.req.valid('param');
      const { targets, sticky } = c.req.valid('json');
      const revisions = await readRevisions(store, name, targets);
      const value: Alias = {
        targets: targets.map(({ revision, weight }) => ({ revision: revision as RevisionId, weight })),
        ...(sticky !== undefined && { sticky }),
      };
      await update(store, 'function', name, (found) => {
        const fn = existing(name, found);
        for (const { id } of revisions) refuseUnproven(fn, id);
        const aliases = { ...fn.aliases, [alias]: value };
        if (Object.keys(aliases).length > ALIASES_MAX) {
          throw new FnError('request.invalid', `${name} has ${ALIASES_MAX} aliases, which is the limit`, {
            hint: `Remove one that is not used: fn alias ls ${name}, fn alias rm ${name}@<alias>.`,
          });
        }
        return { ...fn, aliases, updatedAt: Date.now() };
      });
      // A look at the function that began before may have forgotten a revision meanwhile; from now on none will.
      for (const revision of revisions) await putBack(store, revision);
      const callee = calleeOf(name, alias);
      for (const { id } of revisions) await routed(config.paths.gatewaySocket, callee, id, ROUTED_WITHIN);
      return c.json(summaryOf(name, alias, value), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/functions/{name}/aliases/{alias}',
      request: { params: aliasParam },
      responses: {
        200: json(z.object({ function: z.string(), name: z.string() }), 'Removed'),
        404: problem('No such function or alias'),
      },
    }),
    async (c) => {
      const { name, alias } = c.req.valid('param');
      await update(store, 'function', name, (found) => {
        const fn = existing(name, found);
        if (!Object.hasOwn(fn.aliases ?? {}, alias)) {
          throw new FnError('alias.not_found', `${name} has no alias ${alias}`);
        }
        const { [alias]: _, ...aliases } = fn.aliases ?? {};
        return { ...fn, aliases, updatedAt: Date.now() };
      });
      return c.json({ function: name, name: alias }, 200);
    },
  );
}

function existing(name: string, fn: FunctionRecord | undefined): FunctionRecord {
  if (!fn || fn.deletingSince !== undefined) throw new FnError('function.not_found', `there is no function ${name}`);
  return fn;
}

async function readRevisions(
  store: Store,
  name: FunctionName,
  targets: readonly { readonly revision: string }[],
): Promise<RevisionRecord[]> {
  const found: RevisionRecord[] = [];
  for (const { revision: id } of targets) {
    const revision = (await store.get('revision', id))?.value;
    if (revision?.function !== name) {
      throw new FnError('alias.not_found', `${name} has no revision ${id}`, {
        hint: `See "fn inspect ${name}"; old revisions without traffic and aliases are removed.`,
      });
    }
    found.push(revision);
  }
  return found;
}

/** A revision that never was ready gets no requests, by no name. */
function refuseUnproven(fn: FunctionRecord, revision: RevisionId): void {
  const serves = (share: Share): boolean => share.revision === revision;
  if (fn.traffic.some(serves)) return;
  if (fn.candidate?.revision !== revision && fn.failed?.revision !== revision) return;
  throw new FnError('function.not_ready', `${revision} has never been ready`, { hint: `See "fn inspect ${fn.name}".` });
}

async function putBack(store: Store, revision: RevisionRecord): Promise<void> {
  try {
    await store.put('revision', revision.id, revision, { ifVersion: 0 });
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error; // It is there.
  }
}
