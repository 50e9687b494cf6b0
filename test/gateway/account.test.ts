import { writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Platform, startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

/** A function whose cgroup is three files: what it "uses", the test writes. */
async function accounted(platform: Platform, listener: RequestListener) {
  const revision = await platform.deploy({ name: 'counted' });
  const file = (name: string): string => join(platform.config.home, name);
  const use = (cpuMicros: number): void => writeFileSync(file('cpu'), String(cpuMicros * 1000));
  use(0);
  writeFileSync(file('stat'), 'throttled_time 0\n');
  writeFileSync(file('peak'), '1048576');
  const instance = await platform.serve('counted', listener);
  platform.worker.acquire = () => ({
    ...platform.routable(instance, revision),
    account: {
      cpu: { path: file('cpu'), perMicro: 1000 },
      throttled: { path: file('stat'), field: 'throttled_time', perMicro: 1000 },
      memoryPeak: { path: file('peak') },
    },
  });
  return { use, instance };
}

const request = (fields = ''): string =>
  `GET /function/counted HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Fn-Account: 1\r\n${fields}\r\n`;

describe('the account of an invocation', () => {
  it('is a field of the reply when the client asks for it', async () => {
    await using platform = await startPlatform();
    const { use } = await accounted(platform, (_request, response) => {
      use(1500);
      response.end('hello');
    });
    const reply = await exchange(platform.port, request());
    expect(reply).toMatch(
      /\r\nx-fn-account: outcome=ok;wall_ms=[\d.]+;cpu_us=1500;throttled_us=0;memory_peak_bytes=1048576;/,
    );
    expect(reply).toMatch(/;bytes_in=0;bytes_out=5;shared=false\r\n\r\nhello$/);
    expect(await exchange(platform.port, request().replace('X-Fn-Account: 1\r\n', ''))).not.toContain('x-fn-account');
  });

  it('is a trailer of a reply that streams, which it does not hold up', async () => {
    await using platform = await startPlatform();
    let finish = (): void => {};
    const { use } = await accounted(platform, (_request, response) => {
      response.write('first');
      finish = () => {
        use(42);
        response.end('last');
      };
    });
    await using client = await wire(platform.port);
    client.send(request());
    await client.until(/first/);
    finish();
    expect(await client.end()).toMatch(
      /last\r\n0\r\nx-fn-account: outcome=ok;[^]*;cpu_us=42;[^]*shared=false\r\n\r\n$/,
    );
  });

  it('has what the worker read last of an instance that took its counters with it', async () => {
    await using platform = await startPlatform();
    const { use, instance } = await accounted(platform, async (request) => {
      use(1500);
      const worker = await platform.peer();
      await worker.call('gone', { instance: instance.id, reason: 'oom' }, 5000); // From here on the gateway has no files to read.
      request.socket.destroy();
    });
    const counters = { cpu: 1700, throttled: 20, memoryPeak: 2 ** 27 };
    platform.worker.autopsy = () => ({ alive: false, reason: 'oom', counters });
    expect(await exchange(platform.port, request())).toMatch(
      /\r\nx-fn-account: outcome=oom;wall_ms=[\d.]+;cpu_us=1700;throttled_us=20;memory_peak_bytes=134217728;/,
    );
  });

  it('is of the instance that did the work, when another one could not be reached', async () => {
    await using platform = await startPlatform();
    const { use, instance } = await accounted(platform, (_request, response) => {
      use(1500);
      response.end('hello');
    });
    const dead = await platform.serve('counted', () => {});
    const { acquire } = platform.worker;
    platform.worker.acquire = async (input) => {
      platform.worker.acquire = acquire;
      await dead.close();
      return { ...(await acquire(input)), id: dead.id, socket: dead.socket };
    };
    platform.worker.autopsy = () => ({ alive: false, reason: 'exit' });
    const reply = await exchange(platform.port, request());
    expect(reply).toContain(`x-fn-instance: ${instance.id}`);
    expect(reply).toMatch(/;cpu_us=1500;/);
  });

  it('does not stand in the way of the error when half of a short reply came', async () => {
    await using platform = await startPlatform();
    await accounted(platform, (request, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('half');
      setTimeout(() => request.socket.destroy(), 20);
    });
    platform.worker.autopsy = () => ({ alive: false, reason: 'oom' });
    expect(await exchange(platform.port, request())).toMatch(/^HTTP\/1\.1 502 [^]*function\.oom/);
  });
});
