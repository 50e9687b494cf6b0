/** The ordinary life of functions: called, queued, scaled to zero and back, logged, replaced, removed. */

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { type Job, Queue } from 'bullmq';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectRedis } from '../../core/redis.ts';
import { eventually } from '../support/eventually.ts';
import { leftovers, startPlatform, type TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

/** Is the process's control group frozen? v1 and v2 say it in different files. */
function isFrozen(sandbox: string): boolean {
  const group = `fn-${platform.config.instanceOfPlatform}/${sandbox}`;
  const [v1, v2] = [`/sys/fs/cgroup/freezer/${group}/freezer.state`, `/sys/fs/cgroup/${group}/cgroup.events`];
  return existsSync(v1) ? readFileSync(v1, 'utf8').startsWith('FROZEN') : /^frozen 1$/m.test(readFileSync(v2, 'utf8'));
}

/** The jobs as they are now; fails, and tells how far they and their queue are, unless all have completed. They are looked
 *  at, because BullMQ's `waitUntilFinished` misses an end that comes after its own look and before QueueEvents has sent its
 *  first XREAD, from `$`: on a busy machine once in a hundred times. */
async function allCompleted(queue: Queue, added: readonly Job[]): Promise<(Job | undefined)[]> {
  const jobs = await Promise.all(added.map(({ id = '' }) => queue.getJob(id)));
  const unfinished = jobs.filter((job) => job?.finishedOn === undefined || job.failedReason !== undefined);
  if (unfinished.length === 0) return jobs;
  const states = await Promise.all(unfinished.map(async (job) => [await job?.getState(), job?.toJSON()]));
  throw new Error(JSON.stringify({ states, counts: await queue.getJobCounts(), workers: await queue.getWorkers() }));
}

test('method, path, query, headers and body reach the function, and its reply comes back', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: mirror',
    'index.js': `export default async (request) => Response.json({
      method: request.method, url: request.url, custom: request.headers.get('x-custom'), body: await request.text(),
    }, { status: 201, headers: { 'x-reply': 'yes' } })`,
  });
  const reply = await platform.call('/function/mirror/some/p%61th?a=1&a=2', {
    method: 'PUT',
    headers: { 'x-custom': 'kept', 'x-request-id': 'mine-1' },
    body: 'hello',
  });
  expect(reply.status).toBe(201);
  expect(reply.headers.get('x-reply')).toBe('yes');
  expect(reply.headers.get('x-request-id')).toBe('mine-1');
  expect(reply.headers.get('x-fn-start')).toMatch(/^(cold|claimed|warm);ms=/);
  const seen = (await reply.json()) as Record<string, string>;
  expect(seen).toMatchObject({ method: 'PUT', custom: 'kept', body: 'hello' });
  expect(seen['url']).toMatch(/\/some\/p%61th\?a=1&a=2$/);
});

test('a thousand requests, twenty at a time: no error, every body right', async () => {
  await platform.deploy('hello');
  await platform.deployFiles({
    'fn.yaml': 'name: echo\nscale: { max: 4 }',
    'index.js': 'export default async (request) => new Response(await request.arrayBuffer())',
  });
  const wrong: string[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    while (next++ < 1000) {
      const body = randomBytes(1 + ((next * 37) % 4000)).toString('hex');
      const reply = await platform.call('/function/echo', { method: 'POST', body });
      const text = await reply.text();
      if (reply.status !== 200 || text !== body) wrong.push(`${reply.status} ${text.slice(0, 200)}`);
    }
  };
  await Promise.all(Array.from({ length: 20 }, client));
  expect(wrong).toEqual([]);
  expect((await platform.instances('echo')).length).toBeLessThanOrEqual(4);
});

test('an idle function goes to zero and comes back with the next request', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: sleepy\nscale: { idle: 1s }',
    'index.js': 'export default () => new Response("awake")',
  });
  expect(await (await platform.call('/function/sleepy')).text()).toBe('awake');
  await eventually(async () => expect(await platform.instances('sleepy')).toEqual([]), 30_000);
  const reply = await platform.call('/function/sleepy');
  expect([await reply.text(), reply.headers.get('x-fn-start')]).toEqual([
    'awake',
    expect.stringMatching(/^(claimed|cold);/),
  ]);
  const decisions = await platform.api.get<{ reason: string }[]>('/v1/functions/sleepy/decisions');
  expect(decisions.length).toBeGreaterThan(0);
  for (const { reason } of decisions) expect(reason).not.toBe('');
});

test('the instances grow with the requests that wait, up to scale.max and no further', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: slow\nscale: { max: 3 }',
    'index.js':
      'export default async () => { await new Promise((r) => setTimeout(r, 300)); return new Response(process.env.HOSTNAME ?? "ok") }',
  });
  const replies = await Promise.all(Array.from({ length: 12 }, () => platform.call('/function/slow')));
  expect(replies.map(({ status }) => status)).toEqual(Array.from({ length: 12 }, () => 200));
  const instances = new Set(replies.map(({ headers }) => headers.get('x-fn-instance')));
  expect(instances.size).toBe(3);
});

test('an asynchronous invocation is accepted, runs, and its result can be read', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: later\nhandler: index.handler',
    'index.js': 'exports.handler = async (event) => ({ sum: event.a + event.b })',
  });
  const id = await platform.submit('/async/later', { a: 1, b: 2 });
  const status = await platform.settled(id);
  expect(status.state).toBe('completed');
  expect(JSON.parse(status.result?.body ?? '')).toEqual({ sum: 3 });
  await eventually(async () => {
    const records = await platform.api.get<{ id: string }[]>('/v1/functions/later/invocations');
    expect(records.map((record) => record.id)).toEqual([id]); // The one name of it everywhere.
  });
});

test('a job whose request is refused for good is kept as failed at once', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: refusing',
    'index.js': 'export default () => new Response("no", { status: 422 })',
  });
  const status = await platform.settled(await platform.submit('/async/refusing', {}));
  expect(status.state).toBe('failed');
  expect(status.attempts).toBe(1);
});

test('an invocation has an account: in its reply when asked for, and in the records', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: burner',
    'index.js':
      'export default () => { const since = process.cpuUsage(); while (process.cpuUsage(since).user < 100_000); return new Response("done") }',
  });
  await platform.call('/function/burner');
  const reply = await platform.call('/function/burner', {
    headers: { 'x-fn-account': '1', 'x-request-id': 'account-1' },
  });
  expect(await reply.text()).toBe('done');
  const account = new Map(
    (reply.headers.get('x-fn-account') ?? '').split(';').map((pair) => pair.split('=') as [string, string]),
  );
  expect(account.get('outcome')).toBe('ok');
  expect(account.get('shared')).toBe('false');
  expect(Number(account.get('cpu_us'))).toBeGreaterThan(95_000);
  expect(Number(account.get('memory_peak_bytes'))).toBeGreaterThan(2 ** 20);
  await eventually(async () => {
    const records = await platform.api.get<{ id: string; outcome: string }[]>('/v1/functions/burner/invocations');
    expect(records.find(({ id }) => id === 'account-1')).toMatchObject({ outcome: 'ok', start: 'warm', status: 200 });
  });
});

test('with isolation: invocation every call gets a sandbox of its own, and nothing of it is left for the next', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: alone\nisolation: invocation\nscale: { max: 4 }',
    'index.js': 'let calls = 0; export default () => new Response(String(++calls))',
  });
  const replies: Response[] = [];
  for (let n = 0; n < 5; n++) replies.push(await platform.call('/function/alone'));
  replies.push(...(await Promise.all(Array.from({ length: 12 }, () => platform.call('/function/alone')))));
  expect(await Promise.all(replies.map((reply) => reply.text()))).toEqual(replies.map(() => '1'));
  const used = new Set(replies.map(({ headers }) => headers.get('x-fn-instance')));
  expect(used.size).toBe(replies.length);
  await eventually(async () => {
    const left = await platform.instances('alone'); // One that nobody has called yet may wait for its call.
    expect(left.filter(({ id }) => used.has(id))).toEqual([]);
  }, 20_000);
});

test('an idle instance is frozen, and thawed by its next request', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: ticker',
    'index.js': 'let ticks = 0; setInterval(() => ticks++, 10); export default () => new Response(String(ticks))',
  });
  await platform.call('/function/ticker');
  await eventually(async () => {
    const [instance] = await platform.instances('ticker');
    expect(isFrozen(instance?.id.slice(-8) ?? '')).toBe(true);
  }, 20_000);
  const reply = await platform.call('/function/ticker');
  expect(reply.headers.get('x-fn-start')).toMatch(/^thawed;ms=/);
});

test('a queue that another program fills with plain BullMQ triggers a function', async () => {
  await platform.deploy('wordcount');
  const redis = connectRedis(platform.config, 'patient');
  const queue = new Queue('texts', { connection: redis });
  try {
    const added = await Promise.all(
      Array.from({ length: 20 }, (_, n) => queue.add('text', { text: `one two ${'three '.repeat(n)}` })),
    );
    const ended = await eventually(() => allCompleted(queue, added), 60_000);
    expect(JSON.stringify(ended[0]?.returnvalue)).toContain('two');
    expect(JSON.stringify(ended[5]?.returnvalue)).toContain('"three":5');
  } finally {
    await queue.close();
    redis.disconnect();
  }
}, 90_000);

test('what a function prints is kept by invocation, also after its instance is gone', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: talker\nscale: { idle: 1s }',
    'index.js':
      'export default (request) => { console.log("saw", new URL(request.url).pathname); return new Response("ok") }',
  });
  await platform.call('/function/talker/one', { headers: { 'x-request-id': 'req-one' } });
  await platform.call('/function/talker/two', { headers: { 'x-request-id': 'req-two' } });
  await eventually(async () => expect(await platform.instances('talker')).toEqual([]), 30_000);
  const lines: { text: string }[] = [];
  for await (const line of platform.api.lines<{ text: string }>('/v1/functions/talker/logs?invocation=req-two'))
    lines.push(line);
  expect(lines.map(({ text }) => text)).toEqual(['saw /two']);
});

test('a new revision takes over without a failed request, and the old instances go', async () => {
  const files = (text: string): Record<string, string> => ({
    'fn.yaml': 'name: rolling\nscale: { min: 1 }',
    'index.js': `export default async () => { await new Promise((r) => setTimeout(r, 20)); return new Response("${text}") }`,
  });
  await platform.deployFiles(files('one'));
  const seen = new Set<string>();
  const over = new AbortController();
  const client = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const reply = await platform.call('/function/rolling');
      seen.add(`${reply.status} ${await reply.text()}`);
    }
  };
  const clients = [client(), client()];
  await platform.deployFiles(files('two'));
  await eventually(async () => expect(await (await platform.call('/function/rolling')).text()).toBe('two'));
  over.abort();
  await Promise.all(clients);
  expect([...seen].sort()).toEqual(['200 one', '200 two']);
  await eventually(async () => {
    const { instances } = await platform.api.get<{ instances: { state: string; revision: string }[] }>(
      '/v1/functions/rolling',
    );
    const ready = instances.filter(({ state }) => state === 'ready').map(({ revision }) => revision);
    expect([...new Set(ready)]).toEqual(['rolling-00002']);
  }, 20_000);
});

test('deploying the same thing again changes nothing', async () => {
  const files = { 'fn.yaml': 'name: same', 'index.js': 'export default () => new Response("same")' };
  const first = await platform.deployFiles(files);
  const second = await platform.deployFiles(files);
  expect([second.revision, second.image, second.unchanged]).toEqual([first.revision, first.image, true]);
});

test('after every function is removed and the platform is stopped nothing is left', async () => {
  await platform.removeAll();
  expect(await platform.api.get('/v1/functions')).toEqual([]);
  expect((await platform.call('/function/hello')).status).toBe(404);
  expect(await platform.stop()).toBe(0);
  expect(leftovers(platform.config)).toEqual([]);
}, 60_000);
