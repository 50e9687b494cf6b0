import { createServer, request } from 'node:http';
import { once } from 'node:events';
import { readdir, stat, utimes, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen } from '../../controller/api/server.ts';
import { receiveUpload, sweepUploads, UPLOAD_LIMIT } from '../../controller/uploads.ts';
import { ensureContext, readContext } from '../../core/context.ts';
import type { FunctionName } from '../../core/ids.ts';
import { LogFile } from '../../core/logs.ts';
import { PROCESS_HASH } from '../../core/queues.ts';
import { eventually } from '../support/eventually.ts';
import { deploy, digestOf, type Platform, specOf, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
  platform.build = async () => ({ image: digestOf('a'), spec: specOf({ name: 'hello' }), layers: [] });
  await deploy(platform);
});
afterAll(() => platform[Symbol.asyncDispose]());

const get = async (path: string): Promise<unknown> => (await platform.fetch(path)).json();

describe('access', () => {
  it('needs the token of context.json, which only its owner can read', async () => {
    const { paths, home } = platform.redis.config;
    expect((await stat(paths.context)).mode & 0o777).toBe(0o600);
    expect((await readContext(home))?.token).toBe(platform.token);
    for (const authorization of ['', 'Bearer wrong', `Basic ${platform.token}`]) {
      const response = await platform.fetch('/v1/functions', { headers: { authorization } });
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toBe('Bearer');
      expect(await response.json()).toMatchObject({ code: 'auth.required', status: 401 });
    }
  });

  it('keeps the token over restarts, and the URLs follow the configuration', async () => {
    const before = await ensureContext(platform.redis.config);
    const after = await ensureContext({ ...platform.redis.config, gatewayPort: 9090, gatewayHost: '::' });
    expect(after).toEqual({ ...before, gatewayUrl: 'http://[::1]:9090' });
    await ensureContext(platform.redis.config);
  });

  it('says what to do about a damaged context', async () => {
    const { paths, home } = platform.redis.config;
    const { token, ...urls } = await ensureContext(platform.redis.config);
    await writeFile(paths.context, '{');
    await expect(readContext(home)).rejects.toMatchObject({ code: 'server.unreachable' });
    await writeFile(paths.context, JSON.stringify({ token, ...urls }));
  });

  it('leaves health and the OpenAPI document open', async () => {
    const headers = { authorization: '' };
    expect(await (await platform.fetch('/healthz', { headers })).json()).toEqual({ ok: true });
    const document = (await (await platform.fetch('/openapi.json', { headers })).json()) as { paths: object };
    expect(Object.keys(document.paths).toSorted()).toEqual([
      '/healthz',
      '/metrics',
      '/v1/aliases',
      '/v1/deployments',
      '/v1/functions',
      '/v1/functions/{name}',
      '/v1/functions/{name}/aliases/{alias}',
      '/v1/functions/{name}/decisions',
      '/v1/functions/{name}/invocations',
      '/v1/functions/{name}/logs',
      '/v1/keys',
      '/v1/keys/{name}',
      '/v1/secrets',
      '/v1/secrets/{name}',
      '/v1/status',
    ]);
  });
});

describe('errors', () => {
  it.each([
    ['/v1/nothing', 404, 'route.not_found'],
    ['/v1/functions/missing', 404, 'function.not_found'],
    ['/v1/functions/missing/logs', 404, 'function.not_found'],
    ['/v1/functions/Not_A_Name', 400, 'request.invalid'],
    ['/v1/functions/hello/logs?tail=-1', 400, 'request.invalid'],
    ['/v1/functions/hello/logs?since=yesterday', 400, 'request.invalid'],
  ])('%s: %i %s as problem+json', async (path, status, code) => {
    const response = await platform.fetch(path);
    expect(response.status).toBe(status);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await response.json()).toMatchObject({ code, status, type: `urn:fn:error:${code}` });
  });

  it('refuses a package over the limit by its announced length', async () => {
    const { controller } = platform;
    const outgoing = request({
      port: controller.apiPort,
      method: 'POST',
      path: '/v1/deployments',
      headers: { authorization: `Bearer ${platform.token}`, 'content-length': UPLOAD_LIMIT + 1 },
    });
    outgoing.on('error', () => {});
    outgoing.flushHeaders();
    const [incoming] = (await once(outgoing, 'response')) as [{ statusCode: number }];
    expect(incoming.statusCode).toBe(413);
    outgoing.destroy();
  });

  it('refuses a package that turns out to be over the limit, and keeps nothing of it', async () => {
    const chunk = new Uint8Array(64 * 2 ** 20);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += chunk.length;
        controller.enqueue(chunk);
      },
    });
    const directory = platform.redis.config.paths.uploads;
    const upload = receiveUpload(directory, endless, new AbortController().signal);
    await expect(upload).rejects.toMatchObject({ code: 'body.too_large' });
    expect(sent).toBeLessThanOrEqual(UPLOAD_LIMIT + 4 * chunk.length);
  });

  it('sweeps uploads that a killed controller left', async () => {
    const directory = platform.redis.config.paths.uploads;
    await writeFile(join(directory, 'old'), '');
    await writeFile(join(directory, 'new'), '');
    await utimes(join(directory, 'old'), 1, 1);
    await sweepUploads(directory, Date.now());
    expect(await readdir(directory)).toEqual(['new']);
    await sweepUploads(join(directory, 'missing'), Date.now());
  });

  it('names the variable when the port is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const taken = listen({ fetch: () => new Response() }, { apiHost: '127.0.0.1', apiPort: port });
    await expect(taken).rejects.toMatchObject({
      code: 'port.in_use',
      hint: expect.stringContaining('FN_API_PORT') as unknown,
    });
    server.close();
  });
});

describe('functions', () => {
  it('are listed with what `fn ls` shows', async () => {
    await eventually(async () => {
      expect(await get('/v1/functions')).toEqual([
        {
          name: 'hello',
          url: 'http://127.0.0.1:8080/function/hello',
          state: 'ready',
          revision: 'hello-00001',
          image: digestOf('a'),
          ready: 1,
          desired: 1,
          triggers: [],
          createdAt: expect.any(Number) as unknown,
          updatedAt: expect.any(Number) as unknown,
        },
      ]);
    });
  });

  it('are shown with their revision, instances and decisions', async () => {
    expect(await get('/v1/functions/hello')).toMatchObject({
      name: 'hello',
      traffic: [{ revision: 'hello-00001', weight: 100 }],
      spec: { name: 'hello', memory: 256 * 2 ** 20 },
      instances: [{ function: 'hello', revision: 'hello-00001', state: 'ready', node: 'n1' }],
      revisions: [{ id: 'hello-00001', image: digestOf('a') }],
    });
    const rules = ((await get('/v1/functions/hello/decisions')) as { rule: string }[]).map((one) => one.rule);
    expect(rules).toContain('promote');
  });

  it('give their logs, filtered and followed', async () => {
    const log = new LogFile(platform.redis.config.paths.logs, 'hello' as FunctionName, 2 ** 20);
    const line = (at: number, text: string) =>
      ({ at, instance: 'hello-1', revision: 'hello-00001', from: 'function', text }) as const;
    log.append([line(1, 'one'), line(Date.now(), 'two'), line(Date.now(), 'three')]);
    await log.flushed();
    const texts = async (query: string): Promise<string[]> =>
      (await (await platform.fetch(`/v1/functions/hello/logs${query}`)).text())
        .split('\n')
        .filter(Boolean)
        .map((text) => (JSON.parse(text) as { text: string }).text);
    expect(await texts('')).toEqual(['one', 'two', 'three']);
    expect(await texts('?since=1m')).toEqual(['two', 'three']);
    expect(await texts('?tail=1')).toEqual(['three']);
    expect(await texts('?instance=other')).toEqual([]);

    const stop = new AbortController();
    const response = await platform.fetch('/v1/functions/hello/logs?tail=0&follow=true', { signal: stop.signal });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    log.append([line(Date.now(), 'four')]);
    expect((await reader?.read())?.value).toContain('four');
    stop.abort();
  });
});

describe('status', () => {
  it('tells which processes live, by their heartbeat', async () => {
    const now = Date.now();
    const { redis } = platform.context;
    const beat = (role: string, pid: number, at: number): Promise<number> =>
      redis.hset(
        PROCESS_HASH,
        `${role}-n1-${pid}`,
        JSON.stringify({ role, id: `${role}-n1-${pid}`, pid, at, startedAt: now }),
      );
    await beat('gateway', 1, now);
    await beat('worker', 2, now - 6000);
    await beat('builder', 3, now - 60_000);
    await beat('builder', 4, now);
    const status = await get('/v1/status');
    expect(status).toMatchObject({
      healthy: false,
      redis: { healthy: true },
      gatewayUrl: 'http://127.0.0.1:8080',
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/) as unknown,
      nodes: [{ id: 'n1', healthy: true }],
      processes: [
        { role: 'gateway', pid: 1, healthy: true },
        { role: 'worker', pid: 2, healthy: false },
        { role: 'builder', pid: 4, healthy: true }, // Its predecessor is not down, it was replaced.
      ],
    });
    await redis.del(PROCESS_HASH);
  });

  it('gives its metrics', async () => {
    expect(await (await platform.fetch('/metrics')).text()).toContain('fn_reconciles_total{outcome="acted"}');
  });

  it('answers 503 while Redis is away, goes on from memory where it can, and recovers by itself', async () => {
    await platform.redis.kill();
    const response = await platform.fetch('/v1/functions/hello');
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 'redis.unavailable' });
    expect(await get('/v1/status')).toMatchObject({ redis: { healthy: false }, functions: 1 });
    await platform.redis.start();
    await eventually(async () => expect((await platform.fetch('/v1/functions/hello')).status).toBe(200));
    platform.build = async () => ({ image: digestOf('b'), spec: specOf({ name: 'hello' }), layers: [] });
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done', revision: 'hello-00002' });
  });
});
