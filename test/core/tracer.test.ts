import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../core/config.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import type { Span } from '../../core/otlp.ts';
import { formatTraceparent, isTraceparent, Tracer } from '../../core/tracer.ts';
import { type Collector, startCollector } from '../support/collector.ts';
import { eventually } from '../support/eventually.ts';

const VALID = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

function open(url: string, env: Record<string, string> = {}, random?: () => number) {
  const metrics = new Metrics();
  const config = loadConfig({
    FN_HOME: '/tmp/none',
    OTEL_EXPORTER_OTLP_ENDPOINT: url,
    OTEL_BSP_SCHEDULE_DELAY: '20',
    ...env,
  });
  const tracer = Tracer.open({ config, role: 'gateway', log: silentLog, metrics, ...(random && { random }) })!;
  const count = async (name: string): Promise<number> =>
    Number(new RegExp(`${name}\\{process="gateway"\\} (\\d+)`).exec(await metrics.text())?.[1] ?? 0);
  const span = (): Span => ({
    ...tracer.begin(VALID)!,
    name: 'GET hello',
    kind: 'server',
    start: 1_700_000_000_000.25,
    end: 1_700_000_000_001,
    attributes: { text: 'a', whole: 3, part: 0.5, none: undefined },
  });
  return { tracer, count, span };
}

describe('a tracer', () => {
  it('is there only when a collector is configured', () => {
    const config = loadConfig({ FN_HOME: '/tmp/none' });
    expect(Tracer.open({ config, role: 'gateway', log: silentLog, metrics: new Metrics() })).toBeUndefined();
    expect(() => loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' })).toThrow('http or https');
    expect(() => loadConfig({ OTEL_TRACES_SAMPLER_ARG: '2' })).toThrow('from 0 to 1');
  });

  it('sends spans as the protocol has them, with the headers asked for', async () => {
    await using collector = await startCollector();
    const env = { OTEL_SERVICE_NAME: 'shop', OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20x, x-a=1' };
    const { tracer, count, span } = open(`${collector.url}/`, env);
    await using _ = tracer;
    tracer.record(span());
    await eventually(() => expect(collector.spans).toHaveLength(1));
    expect(collector.complaints).toEqual([]);
    expect(collector.spans[0]).toMatchObject({
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      parent: '00f067aa0ba902b7',
      name: 'GET hello',
      kind: 2,
      attributes: { text: 'a', whole: 3, part: 0.5 },
      resource: { 'service.name': 'shop', 'fn.role': 'gateway' },
    });
    expect(collector.headers[0]).toMatchObject({ authorization: 'Bearer x', 'x-a': '1' });
    await eventually(async () => expect(await count('fn_spans_exported_total')).toBe(1));
  });

  it('follows the caller in whether a trace is recorded, and its share where there is none', () => {
    let drawn = 0.2;
    const { tracer } = open('http://127.0.0.1:1', { OTEL_TRACES_SAMPLER_ARG: '0.25' }, () => drawn);
    expect(tracer.begin(VALID)).toMatchObject({ sampled: true, parentId: '00f067aa0ba902b7' });
    expect(tracer.begin(VALID.replace(/01$/, '00'))).toBeUndefined();
    expect(tracer.begin('')).toMatchObject({ sampled: true, parentId: '' });
    drawn = 0.3;
    expect(tracer.begin('')).toMatchObject({ sampled: false });
    expect(isTraceparent(formatTraceparent(tracer.begin('')!))).toBe(true);
    expect(tracer.beginLater(VALID)).toMatchObject({ sampled: true, parentId: '' });
    expect(tracer.beginLater(VALID)!.traceId).not.toBe(VALID.slice(3, 35));
    expect(tracer.beginLater(VALID.replace(/01$/, '00'))).toBeUndefined();
  });

  it.each<[string, (collector: Collector) => void]>([
    ['refuses', (collector) => void (collector.answer = 503)],
    ['does not answer', (collector) => void (collector.answer = 'never')],
  ])('holds no more than its bound while the collector %s, and counts what it drops', async (_, spoil) => {
    await using collector = await startCollector();
    spoil(collector);
    const { tracer, count, span } = open(collector.url);
    const one = span();
    for (let i = 0; i < 5000; i++) tracer.record(one);
    expect(await count('fn_spans_dropped_total')).toBeGreaterThanOrEqual(5000 - 2048 - 512);
    await tracer[Symbol.asyncDispose]().catch(() => {});
    expect(await count('fn_spans_exported_total')).toBe(0);
  });

  it('sends what it has left when its process ends', async () => {
    await using collector = await startCollector();
    const { tracer, span } = open(collector.url, { OTEL_BSP_SCHEDULE_DELAY: '600000' });
    const one = span();
    for (let i = 0; i < 1100; i++) tracer.record(one);
    await tracer[Symbol.asyncDispose]();
    expect(collector.spans).toHaveLength(1100);
    expect(collector.complaints).toEqual([]);
  });
});
