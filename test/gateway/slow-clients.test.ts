import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { atRest, eventually } from '../support/eventually.ts';
import { skipBecause } from '../support/requires.ts';
import { http2Client } from './support/http2.ts';
import { type Platform, startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

describe('a slow client', () => {
  it('that dawdles over its head is told 408 and closed, however many bytes it drips', async () => {
    await using platform = await startPlatform({}, { patience: { head: 200 } });
    await using client = await wire(platform.port);
    client.send('GET /healthz HTTP/1.1\r\n');
    const drip = setInterval(() => client.send('X-A: 1\r\n'), 40);
    const reply = await client.end().finally(() => clearInterval(drip));
    expect(reply).toMatch(/^HTTP\/1\.1 408 [^]*connection: close/);
  });

  it('whose body stops half-way is told 408, and its function is released', async () => {
    await using platform = await startPlatform({}, { patience: { head: 200, body: 200 } });
    await platform.run({ name: 'upload' }, (request) => void request.on('error', () => {}).resume());
    await using client = await wire(platform.port);
    client.send('POST /function/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 408 /);
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('that reads nothing of a long reply loses it after the function’s timeout, and the instance lives', async () => {
    await using platform = await startPlatform();
    let cut = false;
    await platform.run({ name: 'flood', timeout: '300ms' }, (_request, response) => {
      const piece = Buffer.alloc(256 * 1024);
      const pump = (): void => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', pump).on('close', () => void (cut = true));
      pump();
    });
    await using client = await wire(platform.port);
    client.socket.pause();
    client.send('GET /function/flood HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually(() => expect(cut).toBe(true));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
    expect(platform.calls.map(({ call }) => call)).not.toContain('kill');
  });

  it('that says nothing is closed after a while', async () => {
    await using platform = await startPlatform({}, { patience: { head: 100, idle: 200 } });
    await using client = await wire(platform.port);
    expect(await client.end()).toBe('');
  });

  it('that never closes its side is closed after the last word', async () => {
    await using platform = await startPlatform({}, { patience: { head: 100, linger: 200 } });
    await using client = await wire(platform.port);
    client.socket.allowHalfOpen = true;
    client.send('nonsense');
    await client.until(/connection: close/);
    await eventually(() => expect(platform.gateway.facts()['connections']).toBe(0));
  });

  it('leaves service for the others, 500 times over', async () => {
    await using platform = await startPlatform({}, { patience: { head: 400 } });
    await platform.run({ name: 'fine' }, (_request, response) => response.end('ok'));
    const slow = await Promise.all(Array.from({ length: 500 }, () => wire(platform.port)));
    for (const client of slow) client.send('POST /function/fine HTTP/1.1\r\nHost: a\r\nX-Slow');
    for (let i = 0; i < 20; i++) expect(await (await fetch(`${platform.url}/function/fine`)).text()).toBe('ok');
    const replies = await Promise.all(slow.map((client) => client.end()));
    expect(new Set(replies.map((reply) => reply.slice(0, 12)))).toEqual(new Set(['HTTP/1.1 408']));
    await eventually(() => expect(platform.gateway.facts()['connections']).toBeLessThan(5));
  });
});

describe('a client that misbehaves', () => {
  it('and pipelines without reading is held back', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    client.socket.pause();
    const request = 'GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1000);
    const accepted = await atRest(() => {
      for (let i = 0; i < 200 && client.socket.write(request); i++);
      return client.socket.bytesWritten - client.socket.writableLength;
    });
    expect(accepted).toBeLessThan(16 * 2 ** 20);
  });

  it('and asks for 100,000 things that do not exist leaves no trace of their names', async () => {
    await using platform = await startPlatform();
    await using client = await wire(platform.port);
    const collect = garbageCollector();
    let replies = 0;
    client.socket.removeAllListeners('data'); // What it keeps of the replies would count.
    client.socket.on(
      'data',
      (chunk: Buffer) => void (replies += chunk.toString('latin1').split('HTTP/1.1 404').length - 1),
    );
    const requests = (n: number): string =>
      [
        `GET /function/f-${n} HTTP/1.1\r\nHost: a\r\n\r\n`,
        `GET / HTTP/1.1\r\nHost: f-${n}.localhost\r\n\r\n`,
        `POST /async/f-${n} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`,
        `GET /f-${n} HTTP/1.1\r\nHost: h-${n}\r\nX-Request-Id: r-${n}\r\n\r\n`,
      ].join('');
    let before = 0;
    for (let n = 0; n < 25_000; n += 250) {
      client.send(Array.from({ length: 250 }, (_, i) => requests(n + i)).join(''));
      await eventually(() => expect(replies).toBeGreaterThan(4 * n + 900));
      if (n === 5000) before = collect();
    }
    await eventually(() => expect(replies).toBeGreaterThan(100_000 - 100));
    expect(collect() - before).toBeLessThan(10 * 2 ** 20);
    const text = await platform.gateway.metricsText();
    expect(text).not.toContain('f-1');
    expect(text.length).toBeLessThan(20_000);
    expect(text).toMatch(/fn_errors_total\{code="function.not_found"\} 75000/);
  }, 120_000);
});

describe('a full gateway', () => {
  const dropped = async (platform: Platform): Promise<string[]> => {
    const text = await platform.gateway.metricsText();
    return text.split('\n').filter((line) => line.startsWith('fn_connections_dropped_total{'));
  };

  it('takes newcomers before connections that wait for their client: idle, in their head, of HTTP/2', async () => {
    await using platform = await startPlatform({}, { connectionsMax: 30 });
    await platform.run({ name: 'fine' }, (_request, response) => response.end('ok'));
    const idle = await Promise.all(Array.from({ length: 10 }, () => wire(platform.port)));
    const slow = await Promise.all(Array.from({ length: 10 }, () => wire(platform.port)));
    for (const client of slow) client.send('GET / HTTP/1.1\r\nX-Slow');
    const http2 = await Promise.all(Array.from({ length: 10 }, () => http2Client(platform.url)));
    await eventually(() => expect(platform.gateway.facts()['connections']).toBe(30));
    await new Promise((resolve) => setTimeout(resolve, 1100)); // Long enough not to have just begun.
    await using client = await wire(platform.port);
    client.send('GET /function/fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(await client.end()).toMatch(/ok$/);
    await Promise.all([...idle, ...slow].map((client) => client.end()));
    await eventually(() => expect(http2.every(({ session }) => session.destroyed)).toBe(true));
    expect(await dropped(platform)).toContain('fn_connections_dropped_total{why="idle"} 30');
  });

  it('refuses newcomers rather than end a request under way', async () => {
    await using platform = await startPlatform({}, { connectionsMax: 2 });
    const answers: (() => void)[] = [];
    await platform.run({ name: 'wait', concurrency: 10 }, (_request, response) => {
      answers.push(() => void response.end('late'));
    });
    await using one = await wire(platform.port);
    await using two = await wire(platform.port);
    for (const client of [one, two]) client.send('GET /function/wait HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually(() => expect(answers).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 1200)); // Long enough not to have just begun.
    await using three = await wire(platform.port);
    expect(await three.end()).toBe('');
    for (const answer of answers) answer();
    await Promise.all([one.until(/late$/), two.until(/late$/)]);
    expect(await dropped(platform)).toEqual(['fn_connections_dropped_total{why="full"} 1']);
  });
});

describe('10,000 idle connections', () => {
  const [, limit = '0'] = /Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  const few = Number(limit) < 11_000 ? 'needs 11,000 descriptors (ulimit -n)' : undefined;

  it.skipIf(skipBecause(few))(
    'cost little, hold up nobody, and are closed after a while',
    async () => {
      await using platform = await startPlatform({}, { patience: { head: 500, idle: 20_000 } });
      await platform.run({ name: 'fine' }, (_request, response) => response.end('ok'));
      const collect = garbageCollector();
      const before = collect();
      const program = fileURLToPath(new URL('support/idle-clients.ts', import.meta.url));
      const clients = spawn(process.execPath, [program, String(platform.port), '10000'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      try {
        let said = '';
        clients.stdout.on('data', (chunk: Buffer) => void (said += chunk.toString()));
        await eventually(() => expect(said).toContain('open'), 30_000);
        await eventually(() => expect(platform.gateway.facts()['connections']).toBeGreaterThanOrEqual(10_000));
        for (let i = 0; i < 20; i++) expect(await (await fetch(`${platform.url}/function/fine`)).text()).toBe('ok');
        expect((collect() - before) / 10_000).toBeLessThan(12 * 1024);
        await eventually(() => expect(said).toContain('closed'), 60_000);
      } finally {
        const gone = once(clients, 'exit');
        if (clients.kill()) await gone;
      }
    },
    120_000,
  );
});

/** Collects garbage, and returns what is left, bytes. */
function garbageCollector(): () => number {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  return () => {
    gc();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
}
