/** Every metric, in one table: docs/metrics.md is checked against it. A process registers those it feeds. Labels are
 *  bounded: function names that exist, codes of the catalogue, enumerations. */

import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export const METRICS = {
  fn_requests_total: { type: 'counter', labels: ['function', 'status'], help: 'Invocations answered, by status class' },
  fn_errors_total: { type: 'counter', labels: ['code'], help: 'Errors the platform answered, by code' },
  fn_policy_refusals_total: {
    type: 'counter',
    labels: ['function', 'policy'],
    help: 'Requests refused before they reached a function, by what refused them',
  },
  fn_upstream_errors_total: {
    type: 'counter',
    labels: ['function', 'code'],
    help: 'Invocations that failed because of the function: it crashed, ran out of time or memory, could not start',
  },
  fn_overload_answers_total: {
    type: 'counter',
    labels: ['function', 'code'],
    help: 'Requests refused because too many others are waiting or there is no room for another instance',
  },
  fn_invocation_starts_total: {
    type: 'counter',
    labels: ['function', 'kind'],
    help: 'Invocations that reached an instance, by how they found it: warm, thawed, claimed, cold',
  },
  fn_request_duration_seconds: {
    type: 'histogram',
    labels: ['function', 'status'],
    help: 'Time from the request head to the last byte of the reply',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  fn_starts_total: { type: 'counter', labels: ['kind'], help: 'Instances started, by kind' },
  fn_start_duration_seconds: {
    type: 'histogram',
    labels: ['kind'],
    help: 'Time from the wish for an instance to its readiness',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
  fn_connections_dropped_total: {
    type: 'counter',
    labels: ['why'],
    help: 'Client connections ended while idle to make room (idle), or refused since there was none (full)',
  },
  fn_requests_in_flight: { type: 'gauge', labels: ['function'], help: 'Invocations being answered' },
  fn_requests_waiting: { type: 'gauge', labels: ['function'], help: 'Requests waiting for an instance' },
  fn_instances: { type: 'gauge', labels: ['state'], help: 'Instances on this node' },
  fn_pool_sandboxes: { type: 'gauge', labels: [], help: 'Warm sandboxes that belong to no function' },
  fn_instance_ends_total: { type: 'counter', labels: ['reason'], help: 'Instances ended, by reason' },
  fn_jobs_total: { type: 'counter', labels: ['outcome'], help: 'Queued jobs settled: completed, retried, failed' },
  fn_log_bytes_dropped_total: { type: 'counter', labels: [], help: 'Log bytes of functions over the rate limit' },
  fn_tls_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When the TLS certificate in use ends, Unix time',
  },
  fn_tls_reloads_total: { type: 'counter', labels: ['outcome'], help: 'Changed TLS certificates: loaded, refused' },
  fn_spans_exported_total: { type: 'counter', labels: ['process'], help: 'Spans that the collector took' },
  fn_spans_dropped_total: {
    type: 'counter',
    labels: ['process'],
    help: 'Spans lost because the collector was away, slow or refused them',
  },
  fn_reconciles_total: { type: 'counter', labels: ['outcome'], help: 'Reconciliations: acted, nothing, failed' },
} as const;

export type MetricName = keyof typeof METRICS;

export class Metrics {
  readonly registry = new Registry();
  readonly #metrics = new Map<MetricName, Counter | Gauge | Histogram>();

  counter(name: MetricName): Counter {
    return this.#make(name, () => new Counter(this.#options(name))) as Counter;
  }

  gauge(name: MetricName): Gauge {
    return this.#make(name, () => new Gauge(this.#options(name))) as Gauge;
  }

  histogram(name: MetricName): Histogram {
    const definition = METRICS[name];
    const buckets = 'buckets' in definition ? [...definition.buckets] : [];
    return this.#make(name, () => new Histogram({ ...this.#options(name), buckets })) as Histogram;
  }

  /** Prometheus text. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  #options(name: MetricName): { name: string; help: string; labelNames: string[]; registers: Registry[] } {
    const { help, labels } = METRICS[name];
    return { name, help, labelNames: [...labels], registers: [this.registry] };
  }

  #make(name: MetricName, create: () => Counter | Gauge | Histogram): Counter | Gauge | Histogram {
    let metric = this.#metrics.get(name);
    if (!metric) this.#metrics.set(name, (metric = create()));
    return metric;
  }
}
