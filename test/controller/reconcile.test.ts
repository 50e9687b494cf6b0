import { readdir } from 'node:fs/promises';
import { Worker } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startController } from '../../controller/main.ts';
import type { FunctionName, NodeId } from '../../core/ids.ts';
import { LogFile } from '../../core/logs.ts';
import { openQueue, OWN_PREFIX } from '../../core/queues.ts';
import type { DecisionRecord } from '../../core/records.ts';
import { connectRedis } from '../../core/redis.ts';
import type { FunctionSpecInput } from '../../core/spec.ts';
import { update } from '../../core/store/store.ts';
import { END } from '../support/service.ts';
import { eventually } from '../support/eventually.ts';
import { contextOf, deploy, digestOf, FakeNode, type Platform, specOf, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
  platform.node.reportLoad();
});
afterAll(() => platform[Symbol.asyncDispose]());

async function deploySpec(input: FunctionSpecInput, image = 'a'): Promise<void> {
  platform.build = async () => ({ image: digestOf(image), spec: specOf(input), layers: [] });
  expect((await deploy(platform, `${input.name}${image}`)).at(-1)).toMatchObject({ event: 'done' });
}

const alive = async (name: string): Promise<string[]> =>
  (await platform.node.instances(name)).filter((one) => !one.end).map((one) => one.id);

const decisions = async (name: string): Promise<DecisionRecord[]> =>
  (await (await platform.fetch(`/v1/functions/${name}/decisions`)).json()) as DecisionRecord[];

describe('the reconciler', () => {
  it('replaces an instance that was killed from outside', async () => {
    await deploySpec({ name: 'phoenix' });
    const [first = ''] = await alive('phoenix');
    await platform.node.end(first, 'signal');
    await eventually(async () => {
      const now = await alive('phoenix');
      expect(now).toHaveLength(1);
      expect(now).not.toContain(first);
    });
  });

  it('looks once at many changes of an instance that leave as many as are wanted', async () => {
    await deploySpec({ name: 'restless', scale: { min: 1 } });
    const [id = ''] = await alive('restless');
    const looks = async (): Promise<number> =>
      (await platform.context.metrics.counter('fn_reconciles_total').get()).values.reduce(
        (sum, one) => sum + one.value,
        0,
      );
    const before = await looks();
    for (let change = 0; change < 500; change++) {
      await update(platform.store, 'instance', id, (one) => one && { ...one, createdAt: one.createdAt - 1 });
    }
    expect((await looks()) - before).toBeLessThan(400);
  });

  it('stops everything after scale.idle without load, and writes down why', async () => {
    await deploySpec({ name: 'sleepy', scale: { idle: '1s' } });
    await eventually(async () => expect(await alive('sleepy')).toEqual([]));
    await eventually(async () => {
      expect((await decisions('sleepy'))[0]).toMatchObject({
        rule: 'scale-to-zero',
        actions: [expect.stringMatching(/^stop sleepy-\w{8} \(if-idle, scaled-down\)$/)],
      });
    });
  });

  it('adds instances under load, and leaves busy ones alone on the way down', async () => {
    await deploySpec({ name: 'busy', scale: { max: 4, idle: '1s' } });
    const load = { inFlight: 3, waiting: 2, peak: 5, arrivals: 5, idleMs: 0 };
    platform.node.load = { 'busy-00001': load };
    await eventually(async () => expect(await alive('busy')).toHaveLength(4));
    const [working = ''] = await alive('busy');
    platform.node.idle = (instance) => instance !== working;
    platform.node.load = { 'busy-00001': { inFlight: 0, waiting: 0, peak: 0, arrivals: 0, idleMs: 60_000 } };
    await eventually(async () => expect(await alive('busy')).toEqual([working]));
    platform.node.idle = () => true;
    await eventually(async () => expect(await alive('busy')).toEqual([]));
    platform.node.load = {};
  });

  it('starts instances for jobs that wait', async () => {
    await deploySpec({ name: 'digger', scale: { max: 3, idle: '1s' }, triggers: [{ queue: { name: 'holes' } }] });
    await eventually(async () => expect(await alive('digger')).toEqual([]));
    const queue = openQueue('holes', platform.context.redis, { prefix: 'bull' });
    await queue.addBulk([1, 2, 3, 4, 5].map((data) => ({ name: 'dig', data })));
    await eventually(async () => expect(await alive('digger')).toHaveLength(3));
    expect((await decisions('digger')).find((one) => one.rule === 'queue')?.reason).toContain('jobs wait or run');
    await queue.obliterate({ force: true });
    await queue.close();
    await eventually(async () => expect(await alive('digger')).toEqual([]));
  });

  it('asks a node that refuses not more than once a second, however often it looks', async () => {
    await deploySpec({ name: 'refused', scale: { min: 1 } });
    const [first = ''] = await alive('refused');
    const before = platform.node.jobs.length;
    platform.node.outcome = () => 'load-error';
    await platform.node.end(first, 'signal');
    await eventually(async () => {
      expect((await platform.node.instances('refused')).filter((one) => one.end?.reason === 'load-error').length).toBe(
        2,
      );
    });
    const asked = platform.node.jobs.slice(before).filter((job) => job.type === 'ensure' && job.function === 'refused');
    platform.node.outcome = () => 'ready';
    expect(asked.length).toBeLessThanOrEqual(3);
  });

  it('makes cron schedulers of the live revision, and removes them with the trigger', async () => {
    const queue = openQueue('async-clock', platform.context.redis);
    await deploySpec({ name: 'clock', triggers: [{ cron: { schedule: '0 3 * * *', timezone: 'Europe/Berlin' } }] });
    await eventually(async () => {
      expect(await queue.getJobSchedulers()).toMatchObject([{ pattern: '0 3 * * *', tz: 'Europe/Berlin' }]);
    });
    expect(await platform.context.redis.sismember('fn:async:active', 'clock')).toBe(1);
    await deploySpec({ name: 'clock', triggers: [{ cron: { schedule: '0 4 * * *' } }] }, 'b');
    await eventually(async () => {
      expect(await queue.getJobSchedulers()).toMatchObject([{ pattern: '0 4 * * *', tz: 'UTC' }]);
    });
    await deploySpec({ name: 'clock' }, 'c');
    await eventually(async () => expect(await queue.getJobSchedulers()).toEqual([]));
    expect(await queue.getDelayedCount()).toBe(0);
    await queue.close();
  });

  it('leaves nothing of a function that was removed', async () => {
    await deploySpec({ name: 'gone', triggers: [{ cron: { schedule: '0 3 * * *' } }] });
    const { redis, config } = platform.context;
    const log = new LogFile(config.paths.logs, 'gone' as FunctionName, 2 ** 20);
    log.append([{ at: 1, instance: 'gone-1', revision: 'gone-00001', from: 'function', text: 'hello' }]);
    await log.flushed();
    await eventually(async () => expect(await redis.exists('fn:async-gone:repeat')).toBe(1));

    const response = await platform.fetch('/v1/functions/gone?wait', { method: 'DELETE' });
    expect(await response.json()).toEqual({ name: 'gone', removed: true });
    expect((await platform.fetch('/v1/functions/gone')).status).toBe(404);
    await eventually(async () => expect(await redis.keys('*gone*')).toEqual([])); // The job goes last.
    for (const kind of ['function', 'revision', 'instance'] as const) {
      expect((await platform.store.list(kind)).filter(({ key }) => key.startsWith('gone'))).toEqual([]);
    }
    for (const key of ['fn:desired', 'fn:deploy:latest']) expect(await redis.hget(key, 'gone')).toBeNull();
    expect(await redis.sismember('fn:async:active', 'gone')).toBe(0);
    expect(await readdir(config.paths.logs)).not.toContain('gone');
  });

  it('stops instances that no function owns', async () => {
    await deploySpec({ name: 'stray' });
    await platform.store.delete('function', 'stray');
    await eventually(async () => expect(await alive('stray')).toEqual([]));
  });

  it('replaces the instances of a node that is gone', { timeout: 60_000 }, async () => {
    await deploySpec({ name: 'nomad', scale: { min: 2 } });
    const second = await FakeNode.start(platform.context, 'n2' as NodeId);
    await platform.store.delete('function', 'nothing');
    const [first = ''] = await alive('nomad');
    await platform.node.end(first, 'signal');
    await eventually(async () => expect(await second.instances('nomad')).toHaveLength(1), 20_000);
    await second.kill();
    await second.beat(Date.now() - 1);
    await eventually(async () => {
      expect((await second.instances('nomad'))[0]?.end?.reason).toBe('lost');
      expect(await alive('nomad')).toHaveLength(2);
    }, 40_000);
    await platform.store.delete('node', 'n2');
    expect((await decisions('nomad')).some((one) => one.rule === 'node-loss')).toBe(true);
  });
});

describe('several controllers', () => {
  it('share the work and start nothing twice', async () => {
    const context = { ...contextOf(platform.redis) };
    const second = await startController(context);
    try {
      await deploySpec({ name: 'shared', scale: { min: 3, max: 3 } });
      await eventually(async () => expect(await alive('shared')).toHaveLength(3));
      // An instance too many would be stopped again: count those that ever were.
      expect(await platform.node.instances('shared')).toHaveLength(3);
    } finally {
      await second.end('stop', END);
      context.redis.disconnect();
    }
  });

  it('have at most one job active and one waiting for a function', async () => {
    const name = 'dedup-test';
    const queue = openQueue(name, platform.context.redis);
    const patient = connectRedis(platform.redis.config, 'patient');
    let together = 0;
    let most = 0;
    let runs = 0;
    const first = Promise.withResolvers<void>();
    const worker = new Worker(
      name,
      async () => {
        most = Math.max(most, ++together);
        if (++runs === 1) await first.promise;
        together--;
      },
      { prefix: OWN_PREFIX, connection: patient, concurrency: 10 },
    );
    const look = (): Promise<unknown> =>
      queue.add('one', {}, { deduplication: { id: 'one', keepLastIfActive: true }, removeOnComplete: true });
    await look();
    await eventually(() => expect(runs).toBe(1));
    for (let more = 0; more < 20; more++) await look();
    first.resolve();
    await eventually(async () => {
      expect(runs).toBe(2); // What was asked for during the first look is looked at once more.
      expect(await queue.getJobCountByTypes('wait', 'active')).toBe(0);
    });
    expect(most).toBe(1);
    await worker.close();
    await queue.close();
    patient.disconnect();
  });
});
