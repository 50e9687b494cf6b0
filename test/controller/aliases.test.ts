import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { eventually } from '../support/eventually.ts';
import { deploy, digestOf, type Platform, specOf, startPlatform } from './platform.ts';

describe('aliases', () => {
  let platform: Platform;
  beforeAll(async () => {
    platform = await startPlatform();
  });
  afterAll(() => platform[Symbol.asyncDispose]());

  /** Deploys the function so many times. */
  const deployed = async (name: string, times: number): Promise<void> => {
    for (let time = 1; time <= times; time++) {
      platform.build = async () => ({ image: digestOf(String(time % 10)), spec: specOf({ name }), layers: [] });
      expect((await deploy(platform)).at(-1)).toMatchObject({ event: 'done' });
    }
  };
  const call = async (method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> => {
    const headers = { 'content-type': 'application/json' };
    const response = await platform.fetch(path, { method, ...(body && { headers, body: JSON.stringify(body) }) });
    return { status: response.status, body: await response.json() };
  };
  const alive = async (name: string): Promise<string[]> =>
    (await platform.node.instances(name)).flatMap((one) => (one.end ? [] : [one.revision]));

  it('are set, listed and removed', async () => {
    await deployed('named', 2);
    const targets = [
      { revision: 'named-00001', weight: 90 },
      { revision: 'named-00002', weight: 10 },
    ];
    const url = 'http://127.0.0.1:8080/function/named@live';
    const alias = { function: 'named', name: 'live', targets, sticky: 'cookie:sid', url };
    const set = await call('PUT', '/v1/functions/named/aliases/live', { targets, sticky: 'cookie:sid' });
    expect(set).toEqual({ status: 200, body: alias });
    expect((await call('GET', '/v1/aliases?function=named')).body).toEqual([alias]);
    expect((await call('GET', '/v1/aliases')).body).toEqual([alias]);
    expect((await call('DELETE', '/v1/functions/named/aliases/live')).status).toBe(200);
    expect((await call('GET', '/v1/aliases?function=named')).body).toEqual([]);
    expect(await call('DELETE', '/v1/functions/named/aliases/live')).toMatchObject({
      status: 404,
      body: { code: 'alias.not_found' },
    });
  });

  it('are refused when they could lead nowhere', async () => {
    await deployed('strict', 1);
    const path = '/v1/functions/strict/aliases/live';
    const one = { revision: 'strict-00001', weight: 100 };
    const refused = async (at: string, targets: object[]): Promise<unknown> =>
      ((await call('PUT', at, { targets })).body as { code: string }).code;
    expect(await refused(path, [{ ...one, weight: 50 }])).toBe('request.invalid');
    expect(await refused(path, [])).toBe('request.invalid');
    expect(await refused(path, [{ ...one, revision: 'strict-00009' }])).toBe('alias.not_found');
    expect(await refused(path, [{ ...one, revision: 'named-00001' }])).toBe('alias.not_found');
    expect(await refused('/v1/functions/nobody/aliases/live', [one])).toBe('alias.not_found');
    expect(await refused('/v1/functions/strict/aliases/1', [one])).toBe('request.invalid');

    platform.build = async () => ({ image: digestOf('f'), spec: specOf({ name: 'strict' }), layers: [] });
    platform.node.outcome = () => new FnError('function.load_failed', 'no');
    await deploy(platform);
    platform.node.outcome = () => 'ready';
    expect(await refused(path, [{ ...one, revision: 'strict-00002' }])).toBe('function.not_ready');
  });

  it('keep their revisions through any number of deploys', async () => {
    await deployed('keeper', 1);
    const targets = [{ revision: 'keeper-00001', weight: 100 }];
    await call('PUT', '/v1/functions/keeper/aliases/first', { targets });
    await deployed('keeper', 14);
    await eventually(async () => {
      const ids = (await platform.store.list('revision')).flatMap(({ key }) =>
        key.startsWith('keeper-') ? [key] : [],
      );
      expect(ids).toContain('keeper-00001');
      expect(ids).not.toContain('keeper-00003');
    });
    await call('DELETE', '/v1/functions/keeper/aliases/first');
    await eventually(async () => expect(await platform.store.get('revision', 'keeper-00001')).toBeUndefined());
  });

  it('let instances of their revision live while they are called, and go when they are not', async () => {
    platform.build = async () => ({
      image: digestOf('1'),
      spec: specOf({ name: 'asked', scale: { idle: '1s' } }),
      layers: [],
    });
    await deploy(platform);
    const targets = [{ revision: 'asked-00001', weight: 100 }];
    await call('PUT', '/v1/functions/asked/aliases/old', { targets });
    const busy = { inFlight: 1, waiting: 0, peak: 1, arrivals: 1, idleMs: 0 };
    platform.node.load = { 'asked-00001': busy };
    platform.node.reportLoad();
    platform.build = async () => ({
      image: digestOf('2'),
      spec: specOf({ name: 'asked', scale: { idle: '1s' } }),
      layers: [],
    });
    await deploy(platform);
    await eventually(async () => expect(new Set(await alive('asked'))).toEqual(new Set(['asked-00001'])));
    platform.node.load = {};
    await eventually(async () => expect(await alive('asked')).toEqual([]), 20_000);
  });
});
