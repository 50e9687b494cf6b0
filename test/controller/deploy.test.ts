import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import { eventually } from '../support/eventually.ts';
import { deploy, digestOf, type Platform, specOf, startPlatform } from './platform.ts';

describe('POST /v1/deployments', () => {
  let platform: Platform;
  beforeAll(async () => {
    platform = await startPlatform();
  });
  afterAll(() => platform[Symbol.asyncDispose]());

  const builds = (name: string, image: string, extra: object = {}): void => {
    platform.build = async ({ progress }) => {
      await progress('build', 'one layer');
      return { image: digestOf(image), spec: specOf({ name, ...extra }), layers: [] };
    };
  };

  it('builds, starts one instance, moves the traffic and ends with the URL', async () => {
    builds('first', 'a');
    const lines = await deploy(platform);
    expect(lines.map((line) => line.step ?? line.event)).toEqual(['upload', 'build', 'revision', 'ready', 'done']);
    expect(lines.at(-1)).toMatchObject({
      event: 'done',
      name: 'first',
      url: 'http://127.0.0.1:8080/function/first',
      revision: 'first-00001',
      image: digestOf('a'),
    });
    const fn = await platform.store.get('function', 'first');
    expect(fn?.value.traffic).toEqual([{ revision: 'first-00001', weight: 100 }]);
    expect(fn?.value.candidate).toBeUndefined();
  });

  it('leaves no upload behind', async () => {
    await eventually(async () => expect(await readdir(platform.redis.config.paths.uploads)).toEqual([]));
  });

  it('makes no revision of what already runs', async () => {
    builds('same', 'a');
    await deploy(platform);
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done', revision: 'same-00001', unchanged: true });
    builds('same', 'a', { memory: '512Mi' });
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done', revision: 'same-00002' });
  });

  it('drains the old revision once the new one is ready', async () => {
    builds('rolling', 'a');
    await deploy(platform);
    builds('rolling', 'b');
    await deploy(platform);
    await eventually(async () => {
      const instances = await platform.node.instances('rolling');
      expect(instances.filter((one) => !one.end).map((one) => one.revision)).toEqual(['rolling-00002']);
      expect(instances.find((one) => one.end)?.end?.reason).toBe('replaced');
    });
  });

  it('never gives traffic to a revision that fails to load, and says why', async () => {
    builds('fragile', 'a');
    await deploy(platform);
    builds('fragile', 'b');
    platform.node.outcome = (revision) => (revision === 'fragile-00002' ? 'load-error' : 'ready');
    const last = (await deploy(platform)).at(-1);
    platform.node.outcome = () => 'ready';
    expect(last).toMatchObject({ event: 'error', problem: { code: 'function.load_failed' } });
    const fn = await platform.store.get('function', 'fragile');
    expect(fn?.value.traffic).toEqual([{ revision: 'fragile-00001', weight: 100 }]);
    expect(fn?.value.failed?.revision).toBe('fragile-00002');
  });

  it("passes on the worker's refusal to start the candidate", async () => {
    builds('refused', 'a');
    platform.node.outcome = () => new FnError('capacity.node_full', 'no room');
    const last = (await deploy(platform)).at(-1);
    platform.node.outcome = () => 'ready';
    expect(last).toMatchObject({ event: 'error', problem: { code: 'capacity.node_full', detail: 'no room' } });
  });

  it('tries again when the worker has not heard of the revision yet', async () => {
    builds('early', 'a');
    let asked = 0;
    platform.node.outcome = () => (++asked === 1 ? new FnError('function.not_found', 'revision not known') : 'ready');
    const last = (await deploy(platform)).at(-1);
    platform.node.outcome = () => 'ready';
    expect(last).toMatchObject({ event: 'done', revision: 'early-00001' });
  });

  it('ends with the problem of a failed build', async () => {
    platform.build = async () => {
      throw new FnError('build.dependency', 'left-pad: 404', { logs: ['npm error'] });
    };
    expect((await deploy(platform)).at(-1)).toMatchObject({
      event: 'error',
      problem: { code: 'build.dependency', detail: 'left-pad: 404', logs: ['npm error'] },
    });
  });

  it('refuses a cron trigger that can never fire', async () => {
    builds('cron-bad', 'a', { triggers: [{ cron: { schedule: '61 * * * *' } }] });
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'error', problem: { code: 'spec.invalid' } });
    builds('cron-bad', 'a', { triggers: [{ cron: { schedule: '* * * * *', timezone: 'Mars/Olympus' } }] });
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'error', problem: { code: 'spec.invalid' } });
    expect(await platform.store.get('function', 'cron-bad')).toBeUndefined();
  });

  describe('routes', () => {
    const routed = (name: string, path: string, methods?: string[]): void =>
      builds(name, 'a', { triggers: [{ http: { path, ...(methods && { methods }) } }] });

    it("are refused when they are another function's, with both named and nothing left behind", async () => {
      routed('owner', '/taken/*', ['GET', 'PUT']);
      expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done' });
      routed('rival', '/taken/*', ['POST', 'PUT']);
      const { event, problem } = (await deploy(platform)).at(-1) as { event: string; problem: Record<string, unknown> };
      expect(event).toBe('error');
      expect(problem).toMatchObject({
        code: 'route.conflict',
        status: 409,
        detail: 'rival wants /taken/* (PUT), which is a route of owner',
        data: { function: 'rival', owner: 'owner', methods: ['PUT'] },
      });
      expect(problem['hint']).toContain('fn rm owner');
      expect(await platform.store.get('function', 'rival')).toBeUndefined();
      expect((await platform.store.list('revision')).filter(({ value }) => value.function === 'rival')).toEqual([]);
      routed('rival', '/taken/*', ['POST']);
      expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done', revision: 'rival-00001' });
    });

    it('leave a function that asks for a taken one as it was', async () => {
      builds('changed', 'a');
      await deploy(platform);
      routed('changed', '/taken/*');
      expect((await deploy(platform)).at(-1)).toMatchObject({ problem: { code: 'route.conflict' } });
      const fn = (await platform.store.get('function', 'changed'))!.value;
      expect(fn).toMatchObject({ latest: 1, traffic: [{ revision: 'changed-00001', weight: 100 }] });
      expect(fn.candidate).toBeUndefined();
    });

    it('are free again once their owner is deployed without them', async () => {
      routed('mover', '/moved');
      await deploy(platform);
      builds('mover', 'b');
      await deploy(platform);
      routed('heir', '/moved');
      expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done', name: 'heir' });
    });

    it('go to one of many that ask for the same at once', async () => {
      let built = 0;
      platform.build = async () => {
        const name = `racer-${++built}`;
        const triggers = [{ http: { path: '/race' } }, { http: { path: `/race/${name}` } }];
        return { image: digestOf('a'), spec: specOf({ name, triggers }), layers: [] };
      };
      const ends = (await Promise.all(Array.from({ length: 8 }, () => deploy(platform)))).map((lines) => lines.at(-1));
      expect(ends.filter((end) => end?.['event'] === 'done')).toHaveLength(1);
      const codes = ends.flatMap((end) => (end?.['problem'] as { code: string } | undefined)?.code ?? []);
      expect(codes).toEqual(Array.from({ length: 7 }, () => 'route.conflict'));
      const left = (await platform.store.list('function')).filter(({ key }) => key.startsWith('racer-'));
      expect(left).toHaveLength(1);
    });

    it('that have nothing to do with each other do not keep each other out', async () => {
      let built = 0;
      platform.build = async () => {
        const name = `calm-${++built}`;
        return {
          image: digestOf('a'),
          spec: specOf({ name, triggers: [{ http: { path: `/calm/${name}` } }] }),
          layers: [],
        };
      };
      const ends = (await Promise.all(Array.from({ length: 8 }, () => deploy(platform)))).map((lines) => lines.at(-1));
      expect(ends.map((end) => end?.['event'])).toEqual(Array.from({ length: 8 }, () => 'done'));
    });
  });

  it('refuses an empty package with a problem', async () => {
    const response = await platform.fetch('/v1/deployments', { method: 'POST', body: '' });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: 'package.invalid' });
  });

  it('lets the later of two deploys stand, however long each builds', async () => {
    const slow = Promise.withResolvers<void>();
    const building = Promise.withResolvers<void>();
    const image = { first: digestOf('1'), second: digestOf('2') };
    platform.build = async () => {
      building.resolve();
      await slow.promise;
      return { image: image.first, spec: specOf({ name: 'raced' }), layers: [] };
    };
    const first = deploy(platform, 'one');
    await building.promise;
    platform.build = async () => ({ image: image.second, spec: specOf({ name: 'raced' }), layers: [] });
    expect((await deploy(platform, 'two')).at(-1)).toMatchObject({ event: 'done', image: image.second });
    slow.resolve();
    expect((await first).at(-1)).toMatchObject({ event: 'error', problem: { code: 'deploy.conflict' } });
    const fn = await platform.store.get('function', 'raced');
    const live = fn?.value.traffic[0]?.revision ?? '';
    expect((await platform.store.get('revision', live))?.value.image).toBe(image.second);
  });

  it('tells a deploy whose candidate was overtaken that it lost', async () => {
    platform.node.outcome = (revision) => (revision === 'overtaken-00001' ? 'starting' : 'ready');
    builds('overtaken', 'a');
    const first = deploy(platform, 'one');
    await eventually(async () => {
      expect(await platform.node.instances('overtaken')).toHaveLength(1);
    });
    builds('overtaken', 'b');
    expect((await deploy(platform, 'two')).at(-1)).toMatchObject({ event: 'done', revision: 'overtaken-00002' });
    expect((await first).at(-1)).toMatchObject({ event: 'error', problem: { code: 'deploy.conflict' } });
    platform.node.outcome = () => 'ready';
  });

  it('refuses to deploy what is being removed', async () => {
    const name = 'leaving' as FunctionName;
    builds(name, 'a');
    await deploy(platform);
    const fn = await platform.store.get('function', name);
    if (!fn) throw new Error('not deployed');
    const instance = (await platform.node.instances(name))[0];
    if (!instance) throw new Error('no instance');
    await platform.store.put('instance', instance.id, { ...instance, state: 'draining' });
    await platform.store.put('function', name, { ...fn.value, deletingSince: Date.now() });
    builds(name, 'b');
    expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'error', problem: { code: 'deploy.conflict' } });
    await platform.node.end(instance.id, 'removed');
    await eventually(async () => expect(await platform.store.get('function', name)).toBeUndefined());
  });
});
