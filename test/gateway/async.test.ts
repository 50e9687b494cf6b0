import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import {
  ASYNC_ACTIVE_SET,
  ASYNC_CHANNEL,
  type AsyncJob,
  asyncQueue,
  LOAD_HASH,
  openQueue,
  OWN_PREFIX,
} from '../../core/queues.ts';
import type { LoadReport } from '../../core/records.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type Platform, startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

describe('POST /async/<name>', () => {
  let server: TestRedis;
  let redis: Redis;
  let platform: Platform;

  beforeAll(async () => {
    server = await startRedis();
    redis = connectRedis(server.config, 'failFast');
    await waitForRedis(redis, 5000);
    platform = await startPlatform({ FN_ASYNC_BODY_LIMIT: '1000' }, { redis });
    await platform.deploy({ name: 'later' });
  });
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    redis.disconnect();
    await server[Symbol.asyncDispose]();
  });

  const post = (
    path: string,
    body: string | Buffer | null = null,
    headers: Record<string, string> = {},
  ): Promise<Response> => fetch(`${platform.url}${path}`, { method: 'POST', body, headers });

  it('is 202 with the id once the job is in Redis, and tells who listens', async () => {
    const subscriber = connectRedis(server.config, 'patient');
    await subscriber.subscribe(ASYNC_CHANNEL);
    const heard = new Promise<string>((resolve) => subscriber.on('message', (_channel, text) => resolve(text)));
    const reply = await post('/async/later/some/path?q=1', '{"a":1}', {
      'content-type': 'application/json',
      'x-a': 'b',
    });
    expect(reply.status).toBe(202);
    const { id, status } = (await reply.json()) as { id: string; status: string };
    expect(status).toBe(`/invocations/${id}`);
    expect(reply.headers.get('location')).toBe(status);
    const queue = openQueue<AsyncJob>(asyncQueue('later' as FunctionName), redis);
    const job = await queue.getJob(id);
    expect(job?.data).toMatchObject({ method: 'POST', path: '/some/path?q=1', body: '{"a":1}' });
    expect(job?.data.headers).toMatchObject({ 'content-type': 'application/json', 'x-a': 'b' });
    expect(job?.data.headers).not.toHaveProperty('host');
    expect(await redis.sismember(ASYNC_ACTIVE_SET, 'later')).toBe(1);
    expect(await heard).toBe('later');
    subscriber.disconnect();
    await queue.close();
  });

  it('keeps a body that is not text, byte for byte', async () => {
    const body = Buffer.from([0, 255, 254, 10, 128]);
    const { id } = (await (await post('/async/later', body)).json()) as { id: string };
    const queue = openQueue<AsyncJob>(asyncQueue('later' as FunctionName), redis);
    const job = await queue.getJob(id);
    expect(job?.data).toMatchObject({ path: '/', base64: true, body: body.toString('base64') });
    await queue.close();
  });

  it('keeps no header that only the platform may set', async () => {
    const { id } = (await (await post('/async/later', null, { 'x-fn-queue': 'forged' })).json()) as { id: string };
    const queue = openQueue<AsyncJob>(asyncQueue('later' as FunctionName), redis);
    expect((await queue.getJob(id))?.data.headers).not.toHaveProperty('x-fn-queue');
    await queue.close();
  });

  it('is 404 for a function that does not exist', async () => {
    expect((await post('/async/nobody')).status).toBe(404);
  });

  it('is 413 for a body over FN_ASYNC_BODY_LIMIT, declared or not', async () => {
    expect((await post('/async/later', 'x'.repeat(1001))).status).toBe(413);
    await using client = await wire(platform.port);
    client.send('POST /async/later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let i = 0; i < 11; i++) client.send(`64\r\n${'x'.repeat(100)}\r\n`);
    expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('answers Expect: 100-continue itself', async () => {
    await using client = await wire(platform.port);
    client.send('POST /async/later HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send('hi');
    expect(await client.until(/"id"/)).toMatch(/\r\n\r\nHTTP\/1\.1 202 /);
  });

  it('is followed at /invocations/<id>: waiting, then its result, or its error', async () => {
    const ask = async (path: string): Promise<string> =>
      ((await (await post(path)).json()) as { status: string }).status;
    const show = async (status: string): Promise<unknown> => (await fetch(`${platform.url}${status}`)).json();
    await platform.deploy({ name: 'followed' });
    const good = await ask('/async/followed/good');
    const bad = await ask('/async/followed/bad');
    expect(await show(good)).toMatchObject({ function: 'followed', state: 'waiting', attempts: 0 });
    const result = { status: 200, headers: { 'content-type': 'text/plain' }, body: 'done' };
    const problem = new FnError('function.oom', 'it was too much').toProblem();
    const worker = new Worker<AsyncJob>(
      asyncQueue('followed' as FunctionName),
      async (job) => {
        if (job.data.path === '/bad') throw new UnrecoverableError(JSON.stringify(problem));
        return result;
      },
      { connection: connectRedis(server.config, 'patient'), prefix: OWN_PREFIX },
    );
    await eventually(async () => expect(await show(good)).toMatchObject({ state: 'completed', attempts: 1, result }));
    await eventually(async () =>
      expect(await show(bad)).toMatchObject({ state: 'failed', error: { code: 'function.oom' } }),
    );
    await worker.close();
  });

  it('is never completed without its result, however closely it is followed', async () => {
    await platform.deploy({ name: 'watched' });
    const asked = await Promise.all(Array.from({ length: 100 }, () => post('/async/watched')));
    const ids = await Promise.all(asked.map(async (reply) => ((await reply.json()) as { id: string }).id));
    const result = { status: 200, headers: {}, body: 'done' };
    const worker = new Worker<AsyncJob>(asyncQueue('watched' as FunctionName), () => Promise.resolve(result), {
      connection: connectRedis(server.config, 'patient'),
      prefix: OWN_PREFIX,
    });
    const follow = async (id: string): Promise<unknown> => {
      for (;;) {
        const status = (await (await fetch(`${platform.url}/invocations/${id}`)).json()) as { state: string };
        if (status.state === 'completed') return status;
      }
    };
    for (const status of await Promise.all(ids.map(follow))) {
      expect(status).toMatchObject({ attempts: 1, result, finishedAt: expect.any(Number) as number });
    }
    await worker.close();
  });

  it('has a status for what a schedule has queued', async () => {
    const queue = openQueue<AsyncJob>(asyncQueue('hourly' as FunctionName), redis);
    const job = await queue.upsertJobScheduler('cron-0123456789ab', { pattern: '0 0 * * * *' });
    const time = job?.id?.split(':').at(-1);
    const reply = await fetch(`${platform.url}/invocations/hourly.cron-0123456789ab-${time}`);
    expect(await reply.json()).toMatchObject({ function: 'hourly', state: 'delayed', attempts: 0 });
    await queue.close();
  });

  it('has no status for what is no invocation', async () => {
    expect((await fetch(`${platform.url}/invocations/nonsense`)).status).toBe(404);
    const unknown = await fetch(`${platform.url}/invocations/later.00000000000000000000`);
    expect(unknown.headers.get('x-fn-error')).toBe('invocation.not_found');
  });

  it('reports the load of functions with instances once a second', async () => {
    await platform.run({ name: 'loaded' }, (_request, response) => response.end());
    await fetch(`${platform.url}/function/loaded`);
    await eventually(async () => {
      const report = JSON.parse((await redis.hget(LOAD_HASH, platform.gateway.id)) ?? '{}') as LoadReport;
      expect(report.revisions['loaded-00001']).toMatchObject({ inFlight: 0, waiting: 0 });
    });
  });

  it('is 503 at once while Redis is away, 202 again when it is back, and invocations never notice', async () => {
    await platform.run({ name: 'warm' }, (_request, response) => response.end('ok'));
    await server.kill();
    await eventually(() => expect(redis.status).not.toBe('ready'));
    const refused = await post('/async/later', 'x');
    expect(refused.status).toBe(503);
    expect(refused.headers.get('x-fn-error')).toBe('redis.unavailable');
    expect(await (await fetch(`${platform.url}/function/warm`)).text()).toBe('ok');
    await server.start();
    await eventually(async () => expect((await post('/async/later', 'x')).status).toBe(202));
  });
});
