import { expect, it } from 'vitest';
import { parseTraceparent } from '../../core/tracer.ts';
import { startCollector } from '../support/collector.ts';
import { eventually } from '../support/eventually.ts';
import { jobIn, startNode } from './node.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = `00-${TRACE}-00f067aa0ba902b7-01`;

it('each attempt at a job is a trace of its own, linked to the one that queued it', async () => {
  await using collector = await startCollector();
  await using node = await startNode({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_BSP_SCHEDULE_DELAY: '20',
  });
  await node.deploy({ name: 'work' });
  node.gateway.answer = ({ headers }) => ({ status: headers['x-fn-attempt'] === '1' ? 503 : 200 });
  await node.submit('work', 'work.1', { headers: { traceparent: CALLER, tracestate: 'a=1' } });
  await jobIn(node.asyncQueue('work'), 'work.1', 'completed');
  await eventually(() => expect([collector.complaints, collector.spans.length]).toEqual([[], 2]));
  const link = { traceId: TRACE, spanId: '00f067aa0ba902b7' };
  expect(collector.spans.map(({ kind, links, failed }) => ({ kind, links, failed }))).toEqual([
    { kind: 5, links: [link], failed: true },
    { kind: 5, links: [link], failed: false },
  ]);
  expect(collector.spans[0]).toMatchObject({
    parent: undefined,
    attributes: {
      'messaging.system': 'bullmq',
      'messaging.message.id': 'work.1',
      'fn.attempt': 1,
      'fn.verdict': 'retry',
    },
    resource: { 'fn.role': 'worker' },
  });
  const passed = node.gateway.calls.map(({ headers }) => parseTraceparent(String(headers['traceparent'])));
  expect(passed).toEqual(collector.spans.map(({ traceId, spanId }) => ({ traceId, spanId, sampled: true })));
  expect(new Set([TRACE, ...passed.map(({ traceId }) => traceId)]).size).toBe(3);
  expect(node.gateway.calls[0]!.headers).not.toHaveProperty('tracestate');
});

it('a job goes to the alias it was queued for', async () => {
  await using node = await startNode();
  await node.deploy({ name: 'aimed' });
  await node.submit('aimed', 'aimed.1', { qualifier: 'live', path: '/x?y' });
  await jobIn(node.asyncQueue('aimed'), 'aimed.1', 'completed');
  expect(node.gateway.calls.map(({ url }) => url)).toEqual(['/function/aimed@live/x?y']);
});
