import { mkdir } from 'node:fs/promises';
import type { Job } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ASYNC_ACTIVE_SET } from '../../core/queues.ts';
import { connectRedis } from '../../core/redis.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import { AsyncConsumers } from '../../worker/jobs/async-consumers.ts';
import type { ConsumerDeps } from '../../worker/jobs/consumer.ts';
import { Deliverer } from '../../worker/jobs/deliver.ts';
import { LiveFunctions } from '../../worker/jobs/functions.ts';
import { eventually } from '../support/eventually.ts';
import { jobIn, startNode, type TestNode } from './node.ts';

/** A minute is shortened to what a test can wait for. */
const QUICK = { open: 2, lookEvery: 50, lookAtAllEvery: 200, closeAfter: 300 };

describe('consumers of async queues', () => {
  let node: TestNode;
  let consumers: AsyncConsumers;
  const stack = new AsyncDisposableStack();

  beforeAll(async () => {
    node = stack.use(await startNode());
    await node.jobs[Symbol.asyncDispose](); // Ours take its place.
    const { config, redis, log, metrics, store } = node.context;
    await mkdir(config.paths.run, { recursive: true });
    const patient = stack.adopt(connectRedis(config, 'patient'), (one) => one.disconnect());
    const deliverer = stack.use(new Deliverer(config.paths.gatewaySocket));
    const snapshot = stack.use(await Snapshot.open(store, ['function', 'revision']));
    const deps: ConsumerDeps = {
      redis: patient,
      deliverer,
      tracer: undefined,
      log,
      metrics,
      place: 'test',
      giveUp: new AbortController().signal,
      opened: new Set(),
    };
    consumers = stack.use(new AsyncConsumers(config, redis, new LiveFunctions(snapshot), deps, QUICK));
  });
  afterAll(() => stack.disposeAsync());

  const listed = (): Promise<string[]> => node.context.redis.smembers(ASYNC_ACTIVE_SET);
  const done = (name: string, id: string): Promise<Job> => jobIn(node.asyncQueue(name), id, 'completed');

  it('close after a while without jobs, leave the set, and come back with the next job', async () => {
    await node.deploy({ name: 'rare' });
    for (const id of ['rare.1', 'rare.2']) {
      await node.submit('rare', id);
      await done('rare', id);
      await eventually(async () => {
        expect(consumers.size).toBe(0);
        expect(await listed()).toEqual([]);
      });
    }
  });

  it('close while only later jobs are left, and are back when the first is due', async () => {
    await node.deploy({ name: 'waiter' });
    let calls = 0;
    node.gateway.answer = () => (++calls === 1 ? { status: 503, headers: { 'retry-after': '2' } } : {});
    await node.submit('waiter', 'waiter.1');
    await eventually(() => expect(calls).toBe(1));
    await eventually(() => expect(consumers.size).toBe(0));
    expect(await listed()).toEqual(['waiter']);
    await done('waiter', 'waiter.1');
    expect(calls).toBe(2);
  });

  it('find jobs of a function that the set does not name', async () => {
    await node.deploy({ name: 'unlisted' });
    node.gateway.answer = () => ({});
    const job = { method: 'POST', path: '/', headers: {} };
    await node.asyncQueue('unlisted').add('invoke', job, { jobId: 'unlisted.1' });
    expect(await done('unlisted', 'unlisted.1')).toBeDefined();
  });

  it('drop from the set a name that no function has', async () => {
    await node.context.redis.sadd(ASYNC_ACTIVE_SET, 'nobody');
    await eventually(async () => expect(await listed()).not.toContain('nobody'));
  });

  it('are bounded: further queues get their turn when others are done', async () => {
    const names = ['one', 'two', 'three', 'four'];
    node.gateway.answer = () => ({});
    for (const name of names) await node.deploy({ name });
    let most = 0;
    for (const name of names) await node.submit(name, `${name}.1`);
    for (const name of names) {
      await done(name, `${name}.1`);
      most = Math.max(most, consumers.size);
    }
    expect(most).toBeLessThanOrEqual(QUICK.open);
  });

  it('keep finished jobs for FN_RESULT_TTL_MS and bounded in number, whatever the producer asked for', async () => {
    await node.deploy({ name: 'keeper' });
    await node.context.redis.sadd(ASYNC_ACTIVE_SET, 'keeper');
    const job = { method: 'POST', path: '/', headers: {} };
    await node.asyncQueue('keeper').add('invoke', job, { jobId: 'keeper.1', removeOnComplete: true });
    expect(await done('keeper', 'keeper.1')).toBeDefined();
  });
});
