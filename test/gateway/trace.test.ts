import { describe, expect, it } from 'vitest';
import { startCollector } from '../support/collector.ts';
import { eventually } from '../support/eventually.ts';
import { lintMetrics } from '../support/promtool.ts';
import { startPlatform } from './support/platform.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = `00-${TRACE}-00f067aa0ba902b7-01`;

const settings = (url: string): Record<string, string> => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_BSP_SCHEDULE_DELAY: '20',
});

describe('with a collector', () => {
  it('each invocation has a span below the caller’s, and the function’s are below it', async () => {
    await using collector = await startCollector();
    await using platform = await startPlatform(settings(collector.url));
    await platform.run({ name: 'seen' }, (request, response) => response.end(JSON.stringify(request.headers)));
    const headers = { traceparent: CALLER, tracestate: 'a=1' };
    const reply = await fetch(`${platform.url}/function/seen`, { headers });
    const seen = (await reply.json()) as Record<string, string>;
    await eventually(() => expect(collector.spans).toHaveLength(1));
    const [span] = collector.spans;
    expect(collector.complaints).toEqual([]);
    expect(span).toMatchObject({
      traceId: TRACE,
      parent: '00f067aa0ba902b7',
      name: 'GET seen',
      kind: 2,
      failed: false,
    });
    expect(span!.attributes).toMatchObject({
      'http.request.method': 'GET',
      'http.response.status_code': 200,
      'faas.invoked_name': 'seen',
      'fn.revision': 'seen-00001',
      'fn.start': 'warm',
      'fn.request_id': reply.headers.get('x-request-id'),
    });
    expect(span!.attributes['fn.wait_ms']).toBeGreaterThanOrEqual(0);
    expect(span!.attributes['fn.upstream_ms']).toBeGreaterThan(0);
    expect(seen['traceparent']).toBe(`00-${TRACE}-${span!.spanId}-01`);
    expect(seen['tracestate']).toBe('a=1');
  });

  it('a request without a trace begins one', async () => {
    await using collector = await startCollector();
    await using platform = await startPlatform(settings(collector.url));
    await platform.run({ name: 'first' }, (request, response) => response.end(request.headers['traceparent']));
    const passed = await (await fetch(`${platform.url}/function/first`)).text();
    await eventually(() => expect(collector.spans).toHaveLength(1));
    const { traceId, spanId, parent } = collector.spans[0]!;
    expect(passed).toBe(`00-${traceId}-${spanId}-01`);
    expect(parent).toBeUndefined();
  });

  it('a trace that is not recorded is passed on as it came', async () => {
    await using collector = await startCollector();
    await using platform = await startPlatform(settings(collector.url));
    await platform.run({ name: 'quiet' }, (request, response) => response.end(request.headers['traceparent']));
    const traceparent = CALLER.replace(/01$/, '00');
    expect(await (await fetch(`${platform.url}/function/quiet`, { headers: { traceparent } })).text()).toBe(
      traceparent,
    );
    await fetch(`${platform.url}/function/quiet`);
    await eventually(() => expect(collector.spans).toHaveLength(1));
    expect(collector.spans[0]!.traceId).not.toBe(TRACE);
  });

  it('an invocation that fails says why, whether or not it reached the function', async () => {
    await using collector = await startCollector();
    await using platform = await startPlatform({ ...settings(collector.url), FN_WAITING_LIMIT: '0' });
    await platform.deploy({ name: 'refused' });
    await platform.run({ name: 'broken' }, (request) => request.socket.destroy());
    platform.worker.autopsy = () => ({ alive: false, reason: 'exit' });
    await fetch(`${platform.url}/function/refused`);
    await fetch(`${platform.url}/function/broken`);
    await eventually(() => expect(collector.spans).toHaveLength(2));
    const errors = new Map(
      collector.spans.map(({ name, failed, attributes }) => [name, failed && attributes['error.type']]),
    );
    expect(Object.fromEntries(errors)).toEqual({
      'GET broken': 'function.crashed',
      'GET refused': 'capacity.queue_full',
    });
    expect(collector.spans.find(({ name }) => name === 'GET refused')?.attributes).not.toHaveProperty('fn.upstream_ms');
    expect(collector.complaints).toEqual([]);
  });

  it('that is away, requests are answered as ever and the spans are counted as dropped', async () => {
    await using platform = await startPlatform(settings('http://127.0.0.1:1'));
    await platform.run({ name: 'calm' }, (_request, response) => response.end('ok'));
    for (let i = 0; i < 20; i++) expect(await (await fetch(`${platform.url}/function/calm`)).text()).toBe('ok');
    await eventually(async () => {
      const text = await platform.gateway.metricsText();
      expect(text).toContain('fn_spans_dropped_total{process="gateway"} 20');
      expect(lintMetrics(text)).toBe('');
    });
  });
});
