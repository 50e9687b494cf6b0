import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listenUnix } from '../../core/sockets.ts';
import { lintMetrics } from '../support/promtool.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform } from './support/platform.ts';
import { exchange, wire } from './support/wire.ts';

describe('the metrics', () => {
  it('count what was answered by function and class, and how long it took', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'ok' }, (request, response) => {
      response.statusCode = request.url === '/bad' ? 500 : 200;
      response.end();
    });
    for (const path of ['', '', '/bad']) await fetch(`${platform.url}/function/ok${path}`);
    const text = await platform.gateway.metricsText();
    expect(text).toContain('fn_requests_total{function="ok",status="2xx"} 2');
    expect(text).toContain('fn_requests_total{function="ok",status="5xx"} 1');
    expect(text).toContain('fn_request_duration_seconds_count{function="ok",status="2xx"} 2');
    expect(text).toContain('fn_requests_in_flight{function="ok"} 0');
    expect(text).toContain('fn_requests_waiting{function="ok"} 0');
    expect(text).toContain('fn_invocation_starts_total{function="ok",kind="warm"} 3');
  });

  it('count each error once by its code, whoever answered it', async () => {
    await using platform = await startPlatform({ FN_BODY_LIMIT: '10' });
    await exchange(platform.port, 'nonsense');
    await fetch(`${platform.url}/function/nobody`);
    await fetch(`${platform.url}/invocations/nothing`);
    await fetch(`${platform.url}/healthz`, { method: 'POST', body: 'more than ten bytes' });
    const text = await platform.gateway.metricsText();
    const counted = [...text.matchAll(/fn_errors_total\{code="(.*)"\} (\d+)/g)].map(
      ([, code, count]) => `${code} ${count}`,
    );
    expect(counted.sort()).toEqual([
      'body.too_large 1',
      'function.not_found 1',
      'redis.unavailable 1',
      'request.invalid 1',
    ]);
  });

  it('tell what a function did wrong from what was too much', async () => {
    await using platform = await startPlatform({ FN_WAITING_LIMIT: '1' });
    const broken = await platform.run({ name: 'broken' }, (request) => request.socket.destroy());
    platform.worker.autopsy = () => ({ alive: false, reason: 'exit' });
    await fetch(`${platform.url}/function/broken`);
    await broken.close();
    await platform.run({ name: 'full', concurrency: 1, scale: { max: 1 }, timeout: '1s' }, () => {});
    await Promise.all(Array.from({ length: 4 }, () => fetch(`${platform.url}/function/full`)));
    const text = await platform.gateway.metricsText();
    expect(text).toContain('fn_upstream_errors_total{function="broken",code="function.crashed"} 1');
    expect(text).toMatch(/fn_overload_answers_total\{function="full",code="capacity.queue_full"\} [12]/);
    expect(text).not.toContain('fn_overload_answers_total{function="broken"');
    expect(lintMetrics(text)).toBe('');
  });

  it('never hold a name that no function has', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'known' }, (_request, response) => response.end());
    await fetch(`${platform.url}/function/known`);
    const before = (await platform.gateway.metricsText()).split('\n').length;
    for (let i = 0; i < 200; i++) await (await fetch(`${platform.url}/function/unknown-${i}`)).body?.cancel();
    for (let i = 0; i < 200; i++) await (await fetch(`${platform.url}/function/known@a${i}`)).body?.cancel();
    const after = await platform.gateway.metricsText();
    expect(after).not.toContain('unknown-');
    expect(after.split('\n').length).toBeLessThanOrEqual(before + 8); // Two codes, and their help.
  });

  it('tell cancelled invocations apart', async () => {
    await using platform = await startPlatform();
    let begun = false;
    await platform.run({ name: 'left' }, () => void (begun = true));
    {
      await using client = await wire(platform.port);
      client.send('GET /function/left HTTP/1.1\r\nHost: a\r\n\r\n');
      await eventually(() => expect(begun).toBe(true));
    }
    await eventually(async () =>
      expect(await platform.gateway.metricsText()).toContain('fn_requests_total{function="left",status="cancelled"} 1'),
    );
  });

  it('forget a function that is removed', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'gone' }, (_request, response) => response.end());
    await fetch(`${platform.url}/function/gone`);
    expect(await platform.gateway.metricsText()).toContain('function="gone"');
    await platform.store.delete('function', 'gone');
    await eventually(async () => expect(await platform.gateway.metricsText()).not.toContain('function="gone"'));
  });

  it('are shown on the internal socket only', async () => {
    await using platform = await startPlatform();
    const path = join(platform.config.home, 'g.sock');
    await platform.gateway.listenTrusted(listenUnix(path));
    const request = 'GET /_fn/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    expect(await exchange(path, request)).toContain('# TYPE fn_requests_in_flight gauge');
    expect(await exchange(platform.port, request)).toMatch(/^HTTP\/1\.1 404 /);
  });
});

describe('the internal socket', () => {
  it('is cut off like a port when half a reply is all there is', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'half' }, (request, response) => {
      response.write('half');
      setTimeout(() => request.socket.destroy(), 20);
    });
    const path = join(platform.config.home, 'g.sock');
    await platform.gateway.listenTrusted(listenUnix(path));
    const reply = await exchange(path, 'GET /function/half HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(reply).toMatch(/4\r\nhalf\r\n$/);
    expect((await fetch(`${platform.url}/healthz`)).status).toBe(200);
  });

  it('may set what a job tells its function', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'job' }, (request, response) => response.end(JSON.stringify(request.headers)));
    const path = join(platform.config.home, 'g.sock');
    await platform.gateway.listenTrusted(listenUnix(path));
    const fields = 'X-Fn-Invocation-Id: job.1\r\nX-Fn-Attempt: 2\r\nX-Fn-Queue: q\r\nX-Fn-Deadline: 1\r\n';
    const request = `GET /function/job HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`;
    const inside = await exchange(path, request);
    expect(inside).toContain('"x-fn-invocation-id":"job.1","x-fn-attempt":"2","x-fn-queue":"q"');
    expect(inside).not.toContain('"x-fn-deadline":"1"');
    expect(inside).not.toContain('x-forwarded-for');
    expect(await exchange(platform.port, request)).not.toContain('x-fn-queue');
  });
});
