/** The control API: what the CLI speaks. Hono with schemas, from which /openapi.json is made. It reads the
 *  controller's view, writes desired state, and leaves the doing to the reconciler. */

import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { sleep } from '../../core/clock.ts';
import type { Context } from '../../core/context.ts';
import { FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import { readInvocations } from '../../core/invocation-log.ts';
import { readLogs } from '../../core/logs.ts';
import type { FunctionRecord } from '../../core/records.ts';
import type { SecretBox } from '../../core/secrets.ts';
import type { ServiceContext } from '../../core/service.ts';
import { update } from '../../core/store/store.ts';
import { type Millis, parseDuration } from '../../core/units.ts';
import { VERSION } from '../../core/version.ts';
import type { Deployer } from '../deploy.ts';
import { readDecisions, readDesired, readDesiredOf } from '../diary.ts';
import type { Reconciler } from '../reconcile.ts';
import { receiveUpload, tooLarge, UPLOAD_LIMIT } from '../uploads.ts';
import { addAliasRoutes } from './aliases.ts';
import { requireToken } from './auth.ts';
import { addKeyRoutes } from './keys.ts';
import { platformMetrics } from './metrics.ts';
import { ndjson } from './ndjson.ts';
import { asFnError, notFound, onError, problemOf } from './problem.ts';
import { json, lines, problem } from './responses.ts';
import {
  decisionSchema,
  detailSchema,
  type FunctionDetail,
  functionSchema,
  invocationSchema,
  logQuery,
  nameParam,
  statusSchema,
} from './schemas.ts';
import { addSecretRoutes } from './secrets.ts';
import { readStatus } from './status.ts';
import { summarize } from './summaries.ts';

export interface ApiDeps {
  readonly context: ServiceContext;
  readonly access: Context;
  readonly reconciler: Reconciler;
  readonly deployer: Deployer;
  readonly secrets: SecretBox;
}

const OPEN_PATHS = ['/healthz', '/openapi.json'];
const DECISIONS_SHOWN = 10;
/** A removal waits for the longest invocation; a client asks again when it takes longer. */
const REMOVED_WITHIN: Millis = 120_000;

export function createApi({ context, access, reconciler, deployer, secrets }: ApiDeps): OpenAPIHono {
  const { config, log, redis, store } = context;
  const { view } = reconciler;
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (result.success) return;
      const issue = result.error.issues[0];
      throw new FnError('request.invalid', `${issue?.path.join('.') ?? 'request'}: ${issue?.message ?? 'not valid'}`);
    },
  });
  app.onError(onError(log));
  app.notFound(notFound());
  app.use(requireToken(access.token, (path) => OPEN_PATHS.includes(path)));

  const get = async (name: FunctionName): Promise<FunctionRecord> => {
    const fn = (await store.get('function', name))?.value;
    if (!fn) throw new FnError('function.not_found', `there is no function ${name}`);
    return fn;
  };

  app.openapi(
    createRoute({
      method: 'get',
      path: '/healthz',
      responses: { 200: json(z.object({ ok: z.boolean() }), 'The API answers') },
    }),
    (c) => c.json({ ok: true }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/metrics',
      responses: { 200: { description: 'Prometheus text', content: { 'text/plain': { schema: z.string() } } } },
    }),
    async (c) => c.text(await platformMetrics(context, Date.now()), 200),
  );

  app.openapi(
    createRoute({ method: 'get', path: '/v1/status', responses: { 200: json(statusSchema, 'How the platform is') } }),
    async (c) => c.json(await readStatus(redis, view, access, Date.now()), 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/functions',
      responses: { 200: json(z.array(functionSchema), 'All functions, by name') },
    }),
    async (c) => {
      const desired = await readDesired(redis);
      const now = Date.now();
      const all = view.functions().map((fn) => summarize(view, fn, desired.get(fn.name) ?? 0, access.gatewayUrl, now));
      return c.json(
        all.toSorted((a, b) => a.name.localeCompare(b.name)),
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/functions/{name}',
      request: { params: nameParam },
      responses: { 200: json(detailSchema, 'Everything known of it'), 404: problem('No such function') },
    }),
    async (c) => {
      const fn = await get(c.req.valid('param').name);
      const desired = await readDesiredOf(redis, fn.name);
      const revisions = view.revisions(fn.name).toSorted((a, b) => b.createdAt - a.createdAt);
      const { candidate, failed, traffic } = fn;
      const detail: FunctionDetail = {
        ...summarize(view, fn, desired, access.gatewayUrl, Date.now()),
        traffic: [...traffic],
        ...(candidate && { candidate }),
        ...(failed && {
          failed: { ...failed, problem: { ...failed.problem, logs: [...(failed.problem.logs ?? [])] } },
        }),
        spec: view.liveRevision(fn)?.spec ?? revisions[0]?.spec ?? null,
        instances: view
          .instances(fn.name)
          .toSorted((a, b) => b.createdAt - a.createdAt)
          .map((instance) => ({ ...instance })),
        revisions: revisions.map(({ id, image, createdAt }) => ({ id, image, createdAt })),
        aliases: Object.entries(fn.aliases ?? {}).map(([name, { targets }]) => ({ name, targets: [...targets] })),
        decisions: (await readDecisions(redis, fn.name, DECISIONS_SHOWN)).map(mutable),
      };
      return c.json(detail, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/functions/{name}/invocations',
      request: { params: nameParam, query: z.object({ tail: z.coerce.number().int().min(1).max(1000).default(50) }) },
      responses: { 200: json(z.array(invocationSchema), 'Finished invocations and their accounts, newest first') },
    }),
    async (c) => {
      const { name } = await get(c.req.valid('param').name);
      return c.json(await readInvocations(redis, name, c.req.valid('query').tail), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/functions/{name}/decisions',
      request: { params: nameParam },
      responses: { 200: json(z.array(decisionSchema), 'Newest first'), 404: problem('No such function') },
    }),
    async (c) => {
      const { name } = await get(c.req.valid('param').name);
      return c.json((await readDecisions(redis, name)).map(mutable), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/functions/{name}/logs',
      request: { params: nameParam, query: logQuery },
      responses: { 200: lines('Log lines, oldest first'), 404: problem('No such function') },
    }),
    async (c) => {
      const { name } = await get(c.req.valid('param').name);
      const { follow, since, tail, instance, invocation } = c.req.valid('query');
      const from = since === undefined ? undefined : parseSince(since, Date.now());
      return ndjson(
        (signal) =>
          readLogs(config.paths.logs, name, {
            follow: follow === 'true',
            signal,
            ...(from !== undefined && { since: from }),
            ...(tail !== undefined && { tail }),
            ...(instance !== undefined && { instance }),
            ...(invocation !== undefined && { invocation }),
          }),
        () => undefined,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/functions/{name}',
      request: {
        params: nameParam,
        query: z.object({ wait: z.enum(['', 'true', 'false']).optional().describe('Answer when it is gone') }),
      },
      responses: {
        200: json(z.object({ name: z.string(), removed: z.boolean() }), 'Gone; false when it is still draining'),
        404: problem('No such function'),
      },
    }),
    async (c) => {
      const { name } = await get(c.req.valid('param').name);
      const now = Date.now();
      await update(store, 'function', name, (fn) =>
        fn && fn.deletingSince === undefined ? { ...fn, deletingSince: now, updatedAt: now } : undefined,
      );
      const { wait = 'false' } = c.req.valid('query');
      const end = performance.now() + (wait === 'false' ? 0 : REMOVED_WITHIN);
      let removed = false;
      do {
        removed = (await store.get('function', name)) === undefined;
        if (!removed) await sleep(25, c.req.raw.signal);
      } while (!removed && performance.now() < end);
      return c.json({ name, removed }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/deployments',
      description: 'Builds and deploys a packed directory. The last line of the reply is `done` or `error`.',
      request: { body: { content: { 'application/gzip': { schema: z.string().openapi({ format: 'binary' }) } } } },
      responses: { 200: lines('step, step, …, done or error'), 413: problem('The package is too large') },
    }),
    async (c) => {
      if (Number(c.req.header('content-length') ?? 0) > UPLOAD_LIMIT) throw tooLarge();
      const ticket = await deployer.ticket();
      const upload = await receiveUpload(config.paths.uploads, c.req.raw.body, c.req.raw.signal);
      return ndjson<unknown>(
        async function* deploy(signal) {
          await using _ = upload;
          yield* deployer.deploy(upload, ticket, signal);
        },
        (error) => {
          const known = asFnError(error);
          if (known.code === 'internal') log.error({ err: known }, 'deploy failed');
          return { event: 'error', problem: problemOf(known) };
        },
      );
    },
  );

  addAliasRoutes(app, context, access);
  addKeyRoutes(app, store);
  addSecretRoutes(app, store, secrets);

  app.openAPIRegistry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' });
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'fn control API', version: VERSION },
    security: [{ token: [] }],
  });
  return app;
}

function parseSince(text: string, now: Millis): Millis {
  if (/^\d{10,15}$/.test(text)) return Number(text);
  const back = parseDuration(text);
  if (back !== undefined) return now - back;
  throw new FnError('request.invalid', `since: "${text}" is neither a duration such as 10m nor a time in unix ms`);
}

function mutable<T extends { readonly actions: readonly string[]; readonly inputs: Readonly<Record<string, unknown>> }>(
  decision: T,
): T & { actions: string[]; inputs: Record<string, unknown> } {
  return { ...decision, actions: [...decision.actions], inputs: { ...decision.inputs } };
}
