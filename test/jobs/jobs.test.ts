import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import type { FunctionName, InvocationId } from '../../core/ids.ts';
import { ASYNC_ACTIVE_SET, jobIdOf, OWN_PREFIX } from '../../core/queues.ts';
import { syncSchedules } from '../../controller/schedules.ts';
import { eventually } from '../support/eventually.ts';
import { jobIn, startNode, type TestNode } from './node.ts';

let node: TestNode;
beforeAll(async () => {
  node = await startNode({ FN_RESULT_LIMIT: '4096' });
});
afterAll(() => node[Symbol.asyncDispose]());

const problemIn = (job: { failedReason?: string }): Record<string, unknown> =>
  JSON.parse(job.failedReason ?? '{}') as Record<string, unknown>;

describe('a queue trigger', () => {
  it('posts the data of an ordinary BullMQ job and keeps the answer as its result', async () => {
    await node.deploy({ name: 'words', triggers: [{ queue: { name: 'texts' } }] });
    node.gateway.answer = () => ({ headers: { 'content-type': 'application/json' }, body: '{"a":2}' });
    const queue = node.userQueue('texts');
    const { id = '' } = await queue.add('count', { text: 'a a' });
    const job = await jobIn(queue, id, 'completed');
    expect(job.returnvalue).toEqual({ a: 2 });
    const call = node.gateway.calls.find((one) => one.headers['x-fn-queue'] === 'texts');
    expect(call).toMatchObject({
      method: 'POST',
      url: '/function/words/',
      body: '{"text":"a a"}',
      headers: {
        'content-type': 'application/json',
        'x-fn-job-name': 'count',
        'x-fn-invocation-id': id,
        'x-fn-attempt': '1',
      },
    });
  });

  it("tries as often as the trigger says, although the producer's job says nothing", async () => {
    await node.deploy({
      name: 'stubborn',
      triggers: [{ queue: { name: 'hard', attempts: 3, backoff: 'fixed', delay: '10ms' } }],
    });
    node.gateway.answer = () => ({ status: 500, body: 'boom' });
    const queue = node.userQueue('hard');
    const { id = '' } = await queue.add('job', 1);
    const job = await jobIn(queue, id, 'failed');
    expect(job.attemptsMade).toBe(3);
    expect(problemIn(job)).toMatchObject({ code: 'function.error', data: { status: 500, body: 'boom' } });
    const attempts = node.gateway.calls.filter((call) => call.url === '/function/stubborn/');
    expect(attempts.map((call) => call.headers['x-fn-attempt'])).toEqual(['1', '2', '3']);
  });

  it('keeps a job that was refused as failed at once', async () => {
    await node.deploy({ name: 'picky', triggers: [{ queue: { name: 'refused' } }] });
    node.gateway.answer = () => ({ status: 422, body: 'no' });
    const queue = node.userQueue('refused');
    const { id = '' } = await queue.add('job', {});
    const job = await jobIn(queue, id, 'failed');
    expect(job.attemptsMade).toBe(1);
  });

  it('puts off a job while all instances are busy, without spending an attempt', async () => {
    await node.deploy({ name: 'busy', triggers: [{ queue: { name: 'busy', attempts: 1 } }] });
    const full = new FnError('capacity.max_reached', 'all busy');
    let calls = 0;
    node.gateway.answer = () =>
      ++calls < 3
        ? { status: 429, headers: { 'x-fn-error': full.code }, body: JSON.stringify(full.toProblem()) }
        : { body: 'done' };
    const queue = node.userQueue('busy');
    const { id = '' } = await queue.add('job', {});
    const job = await jobIn(queue, id, 'completed');
    expect(job).toMatchObject({ attemptsMade: 1, returnvalue: 'done' });
  });

  it('fails a job whose result is over the limit', async () => {
    await node.deploy({ name: 'verbose', triggers: [{ queue: { name: 'verbose' } }] });
    node.gateway.answer = () => ({ body: 'x'.repeat(5000) });
    const queue = node.userQueue('verbose');
    const { id = '' } = await queue.add('job', {});
    const job = await jobIn(queue, id, 'failed');
    expect(problemIn(job)).toMatchObject({ code: 'body.too_large' });
  });

  it('tries again after half an answer', async () => {
    await node.deploy({ name: 'halves', triggers: [{ queue: { name: 'halves', delay: '10ms' } }] });
    let calls = 0;
    node.gateway.answer = () => (++calls === 1 ? { half: true } : { body: 'whole' });
    const queue = node.userQueue('halves');
    const { id = '' } = await queue.add('job', {});
    const job = await jobIn(queue, id, 'completed');
    expect(job).toMatchObject({ attemptsMade: 2, returnvalue: 'whole' });
  });

  it('follows a deploy that moves the trigger to another queue', async () => {
    await node.deploy({ name: 'mover', triggers: [{ queue: { name: 'before' } }] });
    await node.deploy({ name: 'mover', triggers: [{ queue: { name: 'after' } }] });
    node.gateway.answer = () => ({ body: 'moved' });
    const queue = node.userQueue('after');
    const { id = '' } = await queue.add('job', {});
    expect(await jobIn(queue, id, 'completed')).toBeDefined();
  });

  it('sends names and ids that a header cannot hold as something it can', async () => {
    await node.deploy({ name: 'odd', triggers: [{ queue: { name: 'odd' } }] });
    node.gateway.answer = () => ({});
    const queue = node.userQueue('odd');
    await queue.add('größe\n', {}, { jobId: 'ein Auftrag' });
    expect(await jobIn(queue, 'ein Auftrag', 'completed')).toBeDefined();
    const call = node.gateway.calls.find((one) => one.url === '/function/odd/');
    expect(call?.headers).toMatchObject({
      'x-fn-job-name': 'gr%C3%B6%C3%9Fe%0A',
      'x-fn-invocation-id': 'ein%20Auftrag',
    });
  });
});

describe('an asynchronous invocation', () => {
  it('is sent as it came and its answer kept whole', async () => {
    await node.deploy({ name: 'later' });
    node.gateway.answer = () => ({ status: 201, headers: { 'x-colour': 'red' }, body: Buffer.from([0xff, 0x00]) });
    await node.submit('later', 'later.1', {
      method: 'PUT',
      path: '/a%20b?q=1',
      headers: { 'x-mine': 'yes', 'content-length': '9999' },
      body: Buffer.from('päckchen').toString('base64'),
      base64: true,
    });
    const queue = node.asyncQueue('later');
    const job = await jobIn(queue, 'later.1', 'completed');
    expect(job.returnvalue).toMatchObject({
      status: 201,
      headers: { 'x-colour': 'red' },
      body: Buffer.from([0xff, 0x00]).toString('base64'),
      base64: true,
    });
    expect(node.gateway.calls.find((call) => call.url.startsWith('/function/later'))).toMatchObject({
      method: 'PUT',
      url: '/function/later/a%20b?q=1',
      body: 'päckchen',
      headers: { 'x-mine': 'yes', 'x-fn-invocation-id': 'later.1', 'x-fn-attempt': '1' },
    });
  });

  it('honours Retry-After and shows the problem meanwhile', async () => {
    await node.deploy({ name: 'patient' });
    node.gateway.answer = () => ({ status: 503, headers: { 'retry-after': '600' } });
    await node.submit('patient', 'patient.1');
    const queue = node.asyncQueue('patient');
    const job = await jobIn(queue, 'patient.1', 'delayed');
    expect(job.delay).toBe(600_000);
    expect(problemIn(job)).toMatchObject({ data: { status: 503 } });
  });

  it('waits for a gateway that is away and is then delivered', async () => {
    await node.deploy({ name: 'outage' });
    await node.gateway[Symbol.asyncDispose]();
    await node.submit('outage', 'outage.1');
    const queue = node.asyncQueue('outage');
    expect(await jobIn(queue, 'outage.1', 'active')).toBeDefined();
    node.gateway.answer = () => ({ body: 'back' });
    await node.gateway.start();
    const job = await jobIn(queue, 'outage.1', 'completed');
    expect(job.attemptsMade).toBe(1);
  });

  it('waits for its function to be deployed', async () => {
    node.gateway.answer = () => ({ body: 'late' });
    await node.submit('future', 'future.1');
    await node.deploy({ name: 'future' });
    const queue = node.asyncQueue('future');
    expect(await jobIn(queue, 'future.1', 'completed')).toBeDefined();
  });

  it('is found although its message was missed', async () => {
    await node.deploy({ name: 'quiet' });
    node.gateway.answer = () => ({ body: 'found' });
    const queue = node.asyncQueue('quiet');
    await node.context.redis.sadd(ASYNC_ACTIVE_SET, 'quiet');
    await queue.add('invoke', { method: 'POST', path: '/', headers: {} }, { jobId: 'quiet.1' });
    expect(await jobIn(queue, 'quiet.1', 'completed')).toBeDefined();
  });
});

describe('a cron trigger', () => {
  it('calls the function with the schedule and the time it was due', async () => {
    await node.deploy({ name: 'ticker' });
    node.gateway.answer = () => ({ body: 'tick' });
    await syncSchedules(node.context.redis, 'ticker' as FunctionName, [{ schedule: '* * * * * *', timezone: 'UTC' }]);
    const call = await eventually(() => {
      const found = node.gateway.calls.find((one) => one.url === '/function/ticker/');
      expect(found).toBeDefined();
      return found;
    });
    await syncSchedules(node.context.redis, 'ticker' as FunctionName, []);
    const body = JSON.parse(call?.body ?? '{}') as { schedule: string; scheduledAt: string };
    expect(body.schedule).toBe('* * * * * *');
    expect(Date.parse(body.scheduledAt) % 1000).toBe(0);
    expect(call?.headers).toMatchObject({ 'x-fn-queue': 'cron', 'content-type': 'application/json' });
    const id = String(call?.headers['x-fn-invocation-id']);
    expect(id).toMatch(/^ticker\.cron-[0-9a-f]{12}-\d+$/);
    expect(await node.asyncQueue('ticker').getJob(jobIdOf(id as InvocationId))).toBeDefined();
  });
});

describe('a lost lock', () => {
  it('ends the request and cannot settle the job', async () => {
    await node.deploy({ name: 'stolen' });
    node.gateway.answer = () => new Promise(() => {}); // Never.
    await node.submit('stolen', 'stolen.1');
    const call = await eventually(() => {
      const found = node.gateway.calls.find((one) => one.url === '/function/stolen/');
      if (!found) throw new Error('not called yet');
      return found;
    });
    const lock = `${OWN_PREFIX}:async-stolen:stolen.1:lock`;
    await node.context.redis.set(lock, 'another worker');
    await call.gone; // The lock is renewed every few seconds; its loss then ends the request.
    const queue = node.asyncQueue('stolen');
    expect(await queue.getJobState('stolen.1')).toBe('active');
    expect(await node.context.redis.get(lock)).toBe('another worker');
    await node.context.redis.del(lock);
  });
});
