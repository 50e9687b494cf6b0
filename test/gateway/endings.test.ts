import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import type { EndReason } from '../../core/records.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

describe('a timeout', () => {
  it('ends the instance before the client hears of it', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'slow', timeout: '100ms' }, () => {});
    const order: string[] = [];
    platform.worker.kill = async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      order.push('gone');
      return { gone: true };
    };
    const reply = await fetch(`${platform.url}/function/slow`, { headers: { 'x-request-id': 'r1' } });
    order.push('answered');
    expect(reply.status).toBe(504);
    expect(reply.headers.get('x-fn-error')).toBe('function.timeout');
    expect(order).toEqual(['gone', 'answered']);
    expect(platform.calls.find(({ call }) => call === 'kill')?.in).toMatchObject({
      reason: 'timeout',
      invocation: 'r1',
    });
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(0));
  });

  it('is asked for again when the worker could not end the instance', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'slow', timeout: '100ms' }, () => {});
    let asked = 0;
    platform.worker.kill = () => {
      if (++asked === 1) throw new FnError('internal', 'still has processes');
      return { gone: true };
    };
    expect((await fetch(`${platform.url}/function/slow`)).status).toBe(504);
    expect(platform.gateway.facts()['instances']).toBe(1);
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(0));
    expect(asked).toBe(2);
  });

  it('does not cut a reply that keeps coming', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'events', timeout: '1s' }, (_request, response) => {
      let n = 0;
      const timer = setInterval(() => {
        response.write(`data: ${++n}\n\n`);
        if (n === 10) {
          clearInterval(timer);
          response.end();
        }
      }, 150);
    });
    expect(await (await fetch(`${platform.url}/function/events`)).text()).toContain('data: 10');
  });

  it('ends a reply that stops coming', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'stalls', timeout: '200ms' }, (_request, response) => void response.write('begun'));
    const reply = await fetch(`${platform.url}/function/stalls`);
    expect(reply.status).toBe(200);
    await expect(reply.text()).rejects.toThrow('terminated');
    expect(platform.calls.map(({ call }) => call)).toContain('kill');
  });

  it('of a client that is slow to send is the client’s, and spares the instance', async () => {
    await using platform = await startPlatform();
    let aborted = false;
    await platform.run({ name: 'upload', timeout: '200ms' }, (request) => {
      request.on('error', () => void (aborted = true)).resume();
    });
    await using client = await wire(platform.port);
    client.send('POST /function/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 408 [^]*request\.timeout/);
    await eventually(() => expect(aborted).toBe(true));
    expect(platform.calls.map(({ call }) => call)).not.toContain('kill');
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(1));
  });
});

describe('an instance that breaks off', () => {
  it.each<[EndReason, string]>([
    ['exit', 'function.crashed'],
    ['oom', 'function.oom'],
    ['signal', 'function.killed'],
    ['timeout', 'function.killed'],
  ])('by %s is told as %s', async (reason, code) => {
    await using platform = await startPlatform();
    await platform.run({ name: 'dies' }, (request) => request.socket.destroy());
    platform.worker.autopsy = () => ({ alive: false, reason });
    const reply = await fetch(`${platform.url}/function/dies`);
    expect(reply.status).toBe(502);
    expect(reply.headers.get('x-fn-error')).toBe(code);
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(0));
  });

  it('is told in the worker’s words when it has some', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'dies' }, (request) => request.socket.destroy());
    const problem = new FnError('function.oom', 'it wanted 300 MiB', { logs: ['last words'] }).toProblem();
    platform.worker.autopsy = () => ({ alive: false, reason: 'oom', problem });
    const reply = await fetch(`${platform.url}/function/dies`);
    expect(await reply.json()).toMatchObject({ detail: 'it wanted 300 MiB', logs: ['last words'] });
  });

  it('and lives on is a bad reply, and takes requests again', async () => {
    await using platform = await startPlatform();
    let first = true;
    await platform.run({ name: 'moody' }, (request, response) => {
      if (first) request.socket.destroy();
      else response.end('ok');
      first = false;
    });
    expect((await fetch(`${platform.url}/function/moody`)).headers.get('x-fn-error')).toBe('function.bad_reply');
    expect(await (await fetch(`${platform.url}/function/moody`)).text()).toBe('ok');
  });

  it('in the middle of a reply cuts the client off', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'half' }, (request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('half');
      setTimeout(() => request.socket.destroy(), 20);
    });
    platform.worker.autopsy = () => ({ alive: false, reason: 'exit' });
    const reply = await fetch(`${platform.url}/function/half`);
    expect(reply.status).toBe(200);
    await expect(reply.text()).rejects.toThrow('terminated');
  });

  it('in the middle of a reply without length resets the connection, lest the half look whole', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'half' }, (request, response) => {
      response.write('half');
      setTimeout(() => request.socket.destroy(), 20);
    });
    await using client = await wire(platform.port);
    let reset = '';
    client.socket.on('error', (error: NodeJS.ErrnoException) => void (reset = error.code ?? ''));
    client.send('GET /function/half HTTP/1.0\r\n\r\n');
    await client.end();
    expect(reset).toBe('ECONNRESET');
  });

  it('is not asked a second time', async () => {
    await using platform = await startPlatform();
    let requests = 0;
    await platform.run({ name: 'once' }, (request) => {
      requests++;
      request.socket.destroy();
    });
    await fetch(`${platform.url}/function/once`);
    expect(requests).toBe(1);
  });

  it('while the worker is away is judged by whether it still takes connections', async () => {
    await using platform = await startPlatform();
    const instance = await platform.run({ name: 'gone' }, (request) => {
      request.socket.destroy();
      void instance.close();
    });
    await platform.stopWorker();
    expect((await fetch(`${platform.url}/function/gone`)).status).toBe(502);
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(0));
  });
});

describe('a request that provably reached nobody', () => {
  it('goes to another instance', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'twice' });
    const dead = await platform.serve('twice', () => {});
    const alive = await platform.serve('twice', (request, response) => request.pipe(response));
    await platform.route(dead, revision);
    await platform.route(alive, revision);
    await dead.close();
    platform.worker.autopsy = () => ({ alive: false, reason: 'signal' });
    const reply = await fetch(`${platform.url}/function/twice`, { method: 'POST', body: 'again' });
    expect(await reply.text()).toBe('again');
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(1));
  });

  it('goes to a new connection when the kept one was closed', async () => {
    await using platform = await startPlatform();
    const instance = await platform.run({ name: 'closes' }, (_request, response) => response.end('ok'));
    for (let i = 0; i < 50; i++) {
      const asked = fetch(`${platform.url}/function/closes`);
      for (const socket of instance.connections) if (i % 2 === 1) socket.end();
      const reply = await asked;
      await reply.text();
      expect([200, 502]).toContain(reply.status);
    }
    await eventually(async () => expect((await fetch(`${platform.url}/function/closes`)).status).toBe(200));
  });
});

describe('a client that goes', () => {
  it('cancels the work', async () => {
    await using platform = await startPlatform();
    let closed = false;
    let begun = false;
    await platform.run({ name: 'work' }, (_request, response) => {
      begun = true;
      response.on('close', () => void (closed = true));
    });
    {
      await using client = await wire(platform.port);
      client.send(GET('/function/work'));
      await eventually(() => expect(begun).toBe(true));
    }
    await eventually(() => expect(closed).toBe(true));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
    expect(platform.calls.map(({ call }) => call)).not.toContain('kill');
  });

  it('does not save an instance that works on past its deadline', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'deaf', timeout: '100ms' });
    let asked = false;
    const instance = await platform.serveRaw('deaf', (socket) => void socket.on('data', () => (asked = true)));
    await platform.route(instance, revision);
    {
      await using client = await wire(platform.port);
      client.send(GET('/function/deaf'));
      await eventually(() => expect(asked).toBe(true));
    }
    await eventually(() => expect(platform.calls.map(({ call }) => call)).toContain('kill'));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });
});

describe('unroute', () => {
  it('if-idle refuses while the instance is busy, and drops it when it is not', async () => {
    await using platform = await startPlatform();
    let finish: (() => void) | undefined;
    const instance = await platform.run({ name: 'busy', scale: { max: 1 } }, (_request, response) => {
      finish = () => response.end('ok');
    });
    const peer = await platform.peer();
    const asked = fetch(`${platform.url}/function/busy`);
    await eventually(() => expect(finish).toBeDefined());
    const order = { instance: instance.id, mode: 'if-idle', deadlineMs: 0 } as const;
    expect(await peer.call('unroute', order, 1000)).toEqual({ idle: false });
    finish?.();
    expect((await asked).status).toBe(200);
    await eventually(async () => expect(await peer.call('unroute', order, 1000)).toEqual({ idle: true }));
    await eventually(() => expect(platform.gateway.facts()['instances']).toBe(0));
  });

  it('drain lets what is in flight finish and sends nothing more', async () => {
    await using platform = await startPlatform();
    let finish = (): void => {};
    let requests = 0;
    const instance = await platform.run({ name: 'drains', scale: { max: 1 } }, (_request, response) => {
      requests++;
      finish = () => response.end('ok');
    });
    const peer = await platform.peer();
    const asked = fetch(`${platform.url}/function/drains`);
    await eventually(() => expect(requests).toBe(1));
    const drained = peer.call('unroute', { instance: instance.id, mode: 'drain', deadlineMs: 5000 }, 10_000);
    await eventually(() => expect(platform.calls).toBeDefined());
    platform.worker.acquire = () => Promise.reject(new FnError('capacity.node_full', 'full'));
    await eventually(async () => expect((await fetch(`${platform.url}/function/drains`)).status).toBe(503));
    finish();
    expect((await asked).status).toBe(200);
    expect(await drained).toEqual({ idle: true });
    expect(requests).toBe(1);
  });

  it('drain answers at its deadline when something stays in flight', async () => {
    await using platform = await startPlatform();
    const instance = await platform.run({ name: 'stays' }, () => {});
    await using client = await wire(platform.port);
    client.send(GET('/function/stays'));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(1));
    const peer = await platform.peer();
    const order = { instance: instance.id, mode: 'drain', deadlineMs: 50 } as const;
    expect(await peer.call('unroute', order, 5000)).toEqual({ idle: false });
  });
});

describe('the end of a gateway', () => {
  it('finishes what is in flight and takes no new connection', async () => {
    await using platform = await startPlatform();
    let finish = (): void => {};
    await platform.run({ name: 'last' }, (_request, response) => {
      finish = () => response.end('done');
    });
    await using idle = await wire(platform.port);
    const asked = fetch(`${platform.url}/function/last`);
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(1));
    const ended = platform.gateway.end(10_000);
    await eventually(() => expect(fetch(`${platform.url}/healthz`)).rejects.toThrow('fetch failed'));
    finish();
    const reply = await asked;
    expect(await reply.text()).toBe('done');
    expect(reply.headers.get('connection')).toBe('close');
    await idle.end();
    await ended;
  });
});
