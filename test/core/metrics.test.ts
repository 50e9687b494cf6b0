import { describe, expect, it } from 'vitest';
import { type MetricName, Metrics, METRICS } from '../../core/metrics.ts';
import { lintMetrics } from '../support/promtool.ts';

describe('the metrics', () => {
  it('are all such as Prometheus wants them (promtool check metrics)', async () => {
    const metrics = new Metrics();
    for (const [name, { type, labels }] of Object.entries(METRICS) as [MetricName, (typeof METRICS)[MetricName]][]) {
      const values = Object.fromEntries(labels.map((label) => [label, 'x']));
      if (type === 'counter') metrics.counter(name).inc(values);
      else if (type === 'gauge') metrics.gauge(name).set(values, 1);
      else metrics.histogram(name).observe(values, 0.1);
    }
    const text = await metrics.text();
    for (const name of Object.keys(METRICS)) expect(text).toContain(`# TYPE ${name} `);
    expect(lintMetrics(text)).toBe('');
  });
});
