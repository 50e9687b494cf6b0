/** The span of one attempt at a job. It begins a trace of its own, linked to the one in which the job was queued: hours and
 *  other attempts may lie between the two. The gateway's span, and the function's, become its children. */

import type { Job } from 'bullmq';
import { formatTraceparent, isTraceparent, parseTraceparent, type Tracer, unixOf } from '../../core/tracer.ts';
import type { Delivery } from './deliver.ts';
import type { Verdict } from './settle.ts';

export interface TracedJob {
  /** What to send, with our span as the caller's. */
  readonly delivery: Delivery;
  end(verdict: Verdict): void;
}

export function traceJob(tracer: Tracer | undefined, queue: string, job: Job<unknown>, delivery: Delivery): TracedJob {
  const given = delivery.headers['traceparent'] ?? '';
  const origin = isTraceparent(given) ? given : '';
  const trace = tracer?.beginLater(origin);
  if (!tracer || !trace) return { delivery, end: () => {} };

  const { tracestate: _, ...headers } = delivery.headers; // It belongs to the trace that we only link to.
  const start = unixOf(performance.now());
  return {
    delivery: { ...delivery, headers: { ...headers, traceparent: formatTraceparent(trace) } },
    end: (verdict) => {
      if (!trace.sampled) return;
      tracer.record({
        ...trace,
        name: `process ${queue}`,
        kind: 'consumer',
        start,
        end: unixOf(performance.now()),
        attributes: {
          'messaging.system': 'bullmq',
          'messaging.operation.type': 'process',
          'messaging.destination.name': queue,
          'messaging.message.id': job.id,
          'fn.attempt': job.attemptsStarted,
          'fn.verdict': verdict.type,
        },
        ...(origin !== '' && { link: parseTraceparent(origin) }),
        ...(verdict.type !== 'done' && { error: verdict.type }),
      });
    },
  };
}
