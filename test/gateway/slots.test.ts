import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { eventually } from '../support/eventually.ts';
import { type InstanceServer, type Platform, startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

/** A server that notes the most requests it ever had at once. */
async function counting(platform: Platform, name: string, takes: number) {
  const seen = { now: 0, most: 0, total: 0 };
  const server = await platform.serve(name, (_request, response) => {
    seen.total++;
    seen.most = Math.max(seen.most, ++seen.now);
    setTimeout(() => {
      seen.now--;
      response.end('ok');
    }, takes);
  });
  return { server, seen };
}

describe('slots', () => {
  it('never give an instance more than its concurrency, under 200 requests at once', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'one', concurrency: 1, scale: { max: 3 } });
    const instances = await Promise.all([1, 2, 3].map(() => counting(platform, 'one', 2)));
    for (const { server } of instances) await platform.route(server, revision);
    const replies = await Promise.all(
      Array.from({ length: 200 }, async () => (await fetch(`${platform.url}/function/one`)).status),
    );
    expect(new Set(replies)).toEqual(new Set([200]));
    expect(instances.map(({ seen }) => seen.most)).toEqual([1, 1, 1]);
    expect(instances.reduce((sum, { seen }) => sum + seen.total, 0)).toBe(200);
    expect(platform.calls.filter(({ call }) => call === 'acquire')).toEqual([]);
  });

  it('fill up to the concurrency of an instance', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'many', concurrency: 5, scale: { max: 1 } });
    const { server, seen } = await counting(platform, 'many', 20);
    await platform.route(server, revision, 5);
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${platform.url}/function/many`)));
    expect(seen).toMatchObject({ most: 5, total: 20 });
  });

  it('stay taken after the client has gone, until the instance lets go', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'busy', scale: { max: 1 } });
    let requests = 0;
    let letGo = (): void => {};
    const instance = await platform.serveRaw('busy', (socket) => {
      socket.on('data', () => {
        requests++;
        if (requests > 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
      socket.on('end', () => (letGo = () => void socket.end())); // Half-open: it works on for a while.
    });
    await platform.route(instance, revision);
    {
      await using first = await wire(platform.port);
      first.send('GET /function/busy HTTP/1.1\r\nHost: a\r\n\r\n');
      await eventually(() => expect(requests).toBe(1));
    }
    const second = fetch(`${platform.url}/function/busy`);
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    expect(requests).toBe(1);
    letGo();
    expect(await (await second).text()).toBe('ok');
  });
});

describe('a request that finds no slot', () => {
  /** A worker that gives a new instance on each call. */
  async function growing(platform: Platform, name: string, takes = 5) {
    const started: InstanceServer[] = [];
    platform.worker.acquire = async ({ revision }) => {
      const { server } = await counting(platform, name, takes);
      started.push(server);
      return platform.routable(server, revision);
    };
    return started;
  }

  it('starts an instance, and says how', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'cold' });
    await growing(platform, 'cold');
    const reply = await fetch(`${platform.url}/function/cold`);
    expect(await reply.text()).toBe('ok');
    expect(reply.headers.get('x-fn-start')).toMatch(/^claimed;ms=\d+\.\d$/);
    expect(reply.headers.get('x-fn-instance')).toBe('cold-00000001');
    expect(reply.headers.get('x-fn-revision')).toBe('cold-00001');
    expect((await fetch(`${platform.url}/function/cold`)).headers.get('x-fn-start')).toBe('warm;ms=0');
  });

  it('starts as many as are needed, and never more than scale.max', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'burst', scale: { max: 4 } });
    const started = await growing(platform, 'burst', 50);
    const ask = (n: number) => Promise.all(Array.from({ length: n }, () => fetch(`${platform.url}/function/burst`)));
    await ask(2);
    expect(started).toHaveLength(2);
    await ask(50);
    expect(started).toHaveLength(4);
  });

  it('counts the slots of an instance that is starting', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'wide', concurrency: 10 });
    let acquires = 0;
    platform.worker.acquire = async ({ revision }) => {
      acquires++;
      await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(15));
      const { server } = await counting(platform, 'wide', 20);
      return platform.routable(server, revision, 10);
    };
    await Promise.all(Array.from({ length: 15 }, () => fetch(`${platform.url}/function/wide`)));
    expect(acquires).toBe(2);
  });

  it('is refused with 429 when the room is full', async () => {
    await using platform = await startPlatform({ FN_WAITING_LIMIT: '3' });
    await platform.deploy({ name: 'full', scale: { max: 1 } });
    const { promise, resolve } = Promise.withResolvers<void>();
    platform.worker.acquire = async ({ revision }) => {
      await promise;
      return platform.routable((await counting(platform, 'full', 1)).server, revision);
    };
    const waiting = [1, 2, 3].map(() => fetch(`${platform.url}/function/full`));
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(3));
    const refused = await fetch(`${platform.url}/function/full`);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('x-fn-error')).toBe('capacity.queue_full');
    resolve();
    expect((await Promise.all(waiting)).map((reply) => reply.status)).toEqual([200, 200, 200]);
  });

  it('hears at once why no instance can start, with the last log lines', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'broken' });
    platform.worker.acquire = () =>
      Promise.reject(new FnError('function.load_failed', 'SyntaxError: boom', { logs: ['line 1', 'line 2'] }));
    const replies = await Promise.all(Array.from({ length: 5 }, () => fetch(`${platform.url}/function/broken`)));
    for (const reply of replies) {
      expect(reply.status).toBe(502);
      expect(await reply.json()).toMatchObject({ code: 'function.load_failed', logs: ['line 1', 'line 2'] });
    }
  });

  it('waits on for a busy instance when another one cannot be had', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'limited', scale: { max: 5 } });
    const { server } = await counting(platform, 'limited', 10);
    await platform.route(server, revision);
    platform.worker.acquire = () => Promise.reject(new FnError('capacity.node_full', 'no room'));
    const replies = await Promise.all(Array.from({ length: 10 }, () => fetch(`${platform.url}/function/limited`)));
    expect(replies.map((reply) => reply.status)).toEqual(Array.from({ length: 10 }, () => 200));
    expect(platform.calls.filter(({ call }) => call === 'acquire').length).toBeLessThan(10);
  });

  it('waits on while the only instance it may have is on its way out, or not yet ours', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'single', scale: { max: 1 } });
    let refusals = 0;
    platform.worker.acquire = async ({ revision }) => {
      if (refusals++ < 2) throw new FnError('capacity.max_reached', 'single has 1 instances, its scale.max');
      return platform.routable((await counting(platform, 'single', 1)).server, revision);
    };
    const replies = await Promise.all([1, 2, 3].map(() => fetch(`${platform.url}/function/single`)));
    expect(replies.map((reply) => reply.status)).toEqual([200, 200, 200]);
  });

  it('is refused with 429 when every instance stays busy for its whole timeout', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'stuck', timeout: '1s', scale: { max: 1 } });
    const instance = await platform.serve('stuck', (_request, response) => {
      response.write('streaming'); // The reply has begun: no total limit any more.
      const timer = setInterval(() => response.write('.'), 50);
      response.on('close', () => clearInterval(timer));
    });
    await platform.route(instance, revision);
    await using first = await wire(platform.port);
    first.send('GET /function/stuck HTTP/1.1\r\nHost: a\r\n\r\n');
    await first.until(/streaming/);
    const reply = await fetch(`${platform.url}/function/stuck`);
    expect(reply.status).toBe(429);
    expect(reply.headers.get('x-fn-error')).toBe('capacity.max_reached');
  });

  it('leaves the room when its client goes', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'left' });
    platform.worker.acquire = () => new Promise(() => {});
    {
      await using client = await wire(platform.port);
      client.send('GET /function/left HTTP/1.1\r\nHost: a\r\n\r\n');
      await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    }
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(0));
  });

  it('is served, by one thread in the order of arrival', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'fifo', scale: { max: 1 } });
    const order: string[] = [];
    const instance = await platform.serve('fifo', (request, response) => {
      order.push(request.url ?? '');
      setTimeout(() => response.end(), 2);
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    platform.worker.acquire = async () => {
      await promise;
      return platform.routable(instance, revision);
    };
    const asked: Promise<Response>[] = [];
    for (let i = 0; i < 10; i++) {
      asked.push(fetch(`${platform.url}/function/fifo/${i}`));
      await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(i + 1));
    }
    resolve();
    await Promise.all(asked);
    const hasThreads = process.env['FN_TEST_GATEWAY_THREADS'] !== undefined; // Each keeps its own order.
    expect(hasThreads ? order.toSorted() : order).toEqual(Array.from({ length: 10 }, (_, i) => `/${i}`));
  });

  it('follows the traffic to a new revision', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'moving' });
    platform.worker.acquire = async ({ revision }) => {
      if (revision === 'moving-00001') return new Promise(() => {});
      const server = await platform.serve('moving', (_request, response) => response.end(revision));
      return platform.routable(server, revision);
    };
    const asked = fetch(`${platform.url}/function/moving`);
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    await platform.deploy({ name: 'moving' }, 2);
    expect(await (await asked).text()).toBe('moving-00002');
  });

  it('is 404 when the function is removed while it waits', async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'going' });
    platform.worker.acquire = () => new Promise(() => {});
    const asked = fetch(`${platform.url}/function/going`);
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    await platform.store.delete('function', 'going');
    expect((await asked).status).toBe(404);
  });
});

describe('without a worker', () => {
  it('ready instances keep answering', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'warm' }, (_request, response) => response.end('ok'));
    await platform.stopWorker();
    expect(await (await fetch(`${platform.url}/function/warm`)).text()).toBe('ok');
  });

  it('a cold request waits for the worker to come back', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'cold' });
    const { server } = await counting(platform, 'cold', 1);
    platform.worker.acquire = () => platform.routable(server, revision);
    await platform.peer();
    await platform.stopWorker();
    const asked = fetch(`${platform.url}/function/cold`);
    await eventually(() => expect(platform.gateway.facts()['waiting']).toBe(1));
    await platform.startWorker();
    expect(await (await asked).text()).toBe('ok');
  });

  it('takes over what the worker lists when it is back, and drops the rest', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'adopted', scale: { max: 1 } });
    const kept = await counting(platform, 'adopted', 1);
    const dropped = await counting(platform, 'adopted', 1);
    await platform.route(dropped.server, revision);
    await platform.stopWorker();
    platform.worker.hello = () => ({ node: 'test' as never, instances: [platform.routable(kept.server, revision)] });
    await platform.startWorker();
    await eventually(async () => {
      await fetch(`${platform.url}/function/adopted`);
      expect(kept.seen.total).toBeGreaterThan(0);
    });
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(1));
  });
});
