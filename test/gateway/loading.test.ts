/** Requests that are sent to an instance before its handler is loaded. The sandbox holds them; here a server does. */

import type { RequestListener, ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import type { RevisionId } from '../../core/ids.ts';
import { eventually } from '../support/eventually.ts';
import { type Platform, startPlatform } from './support/platform.ts';

/** An instance that holds what comes until it is loaded, and a worker that gives it away at once. */
async function loading(platform: Platform, name: string, revision: RevisionId, answer: RequestListener) {
  const held: (() => void)[] = [];
  let isLoaded = false;
  const instance = await platform.serve(name, (request, response) => {
    if (isLoaded) answer(request, response);
    else held.push(() => answer(request, response));
  });
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, never>>();
  promise.catch(() => {});
  platform.worker.acquire = () => ({ ...platform.routable(instance, revision), loading: true });
  platform.worker.loaded = () => promise;
  return {
    instance,
    held,
    load: () => {
      isLoaded = true;
      resolve({});
      for (const go of held) go();
    },
    fail: async (error: FnError) => {
      platform.worker.acquire = () => Promise.reject(new Error('nobody asks for another'));
      platform.worker.autopsy = () => ({ alive: false, reason: 'load-error', problem: error.toProblem() });
      await instance.close();
      reject(error);
    },
  };
}

const ok = (_: unknown, response: ServerResponse): void => void response.end('ok');
const callsOf = (platform: Platform, name: string): unknown[] => platform.calls.filter(({ call }) => call === name);

describe.each([{ threads: '1' }, { threads: '2' }])('with $threads threads, an instance that loads', ({ threads }) => {
  const start = (): Promise<Platform> => startPlatform({ FN_GATEWAY_THREADS: threads });

  it('has the request before it is ready, and the reply says how long that took', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'early' });
    const { held, load } = await loading(platform, 'early', revision, ok);
    const reply = fetch(`${platform.url}/function/early`);
    await eventually(() => expect(held).toHaveLength(1));
    load();
    expect(await (await reply).text()).toBe('ok');
    expect((await reply).headers.get('x-fn-start')).toMatch(/^claimed;ms=\d+\.\d$/);
    await eventually(async () => {
      const again = await fetch(`${platform.url}/function/early`);
      expect(again.headers.get('x-fn-start')).toBe('warm;ms=0');
    });
  });

  it('and fails, tells everyone why: who was sent to it, and who waits', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'broken', scale: { max: 1 } });
    const { held, fail } = await loading(platform, 'broken', revision, ok);
    const replies = Array.from({ length: 4 }, () => fetch(`${platform.url}/function/broken`));
    await eventually(() => {
      expect(held).toHaveLength(1);
      expect(platform.gateway.facts()['waiting']).toBe(3);
    });
    await fail(new FnError('function.load_failed', 'SyntaxError: boom', { logs: ['line 1'] }));
    for (const reply of await Promise.all(replies)) {
      expect(reply.status).toBe(502);
      expect(await reply.json()).toMatchObject({ code: 'function.load_failed', logs: ['line 1'] });
    }
    expect(callsOf(platform, 'acquire')).toHaveLength(1);
  });

  it('for longer than the timeout, goes on loading and serves whoever comes next', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'slow', timeout: '1s' });
    const { load } = await loading(platform, 'slow', revision, ok);
    const reply = await fetch(`${platform.url}/function/slow`);
    expect(reply.status).toBe(504);
    expect(await reply.json()).toMatchObject({ code: 'function.start_timeout' });
    load();
    expect(await (await fetch(`${platform.url}/function/slow`)).text()).toBe('ok');
    expect(callsOf(platform, 'kill')).toEqual([]);
    expect(callsOf(platform, 'acquire')).toHaveLength(1);
  });

  it('and never answers, is ended one timeout after it was ready', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'hangs', timeout: '1s' });
    const { held, load } = await loading(platform, 'hangs', revision, () => {});
    let loadedAt = 0;
    platform.worker.kill = () => {
      expect(performance.now() - loadedAt).toBeGreaterThanOrEqual(990);
      return { gone: true };
    };
    const reply = fetch(`${platform.url}/function/hangs`);
    await eventually(() => expect(held).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 500)); // Half of the timeout.
    loadedAt = performance.now();
    load();
    expect((await reply).status).toBe(504);
    expect(await (await reply).json()).toMatchObject({ code: 'function.timeout' });
    expect(callsOf(platform, 'kill')).toHaveLength(1);
  });

  it('is not ended for a client that goes', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'left', timeout: '1s' });
    const { instance, held, load } = await loading(platform, 'left', revision, ok);
    const leave = new AbortController();
    const left = fetch(`${platform.url}/function/left`, { signal: leave.signal });
    await eventually(() => expect(held).toHaveLength(1));
    leave.abort();
    await expect(left).rejects.toThrow(/abort/);
    await eventually(() => expect(instance.connections.size).toBe(0));
    load();
    expect(await (await fetch(`${platform.url}/function/left`)).text()).toBe('ok');
    expect(callsOf(platform, 'kill')).toEqual([]);
  });

  it('is left alone when the worker goes away meanwhile', async () => {
    await using platform = await start();
    const revision = await platform.deploy({ name: 'alone' });
    const { held, load } = await loading(platform, 'alone', revision, ok);
    const reply = fetch(`${platform.url}/function/alone`);
    await eventually(() => expect(held).toHaveLength(1));
    await platform.stopWorker();
    load();
    expect(await (await reply).text()).toBe('ok');
  });
});
