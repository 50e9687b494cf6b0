/** Counts of what the gateway answered. The hot path adds to plain numbers; prom-client, which spends a microsecond on the
 *  labels of one observation, is fed when somebody looks. */

import type { FunctionName } from '../core/ids.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Millis } from '../core/units.ts';

const CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'cancelled'] as const;
/** nginx's code for a client that closed before its reply. */
const CANCELLED = 499;

class FunctionLedger {
  readonly byClass = new Float64Array(CLASSES.length);
  /** Durations since the last look, seconds; bounded by `flush`. */
  readonly durations: number[] = [];
}

const DURATIONS_MAX = 10_000;

export class Ledger {
  readonly #metrics: Metrics;
  readonly #functions = new Map<FunctionName, FunctionLedger>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  names(): FunctionName[] {
    return [...this.#functions.keys()];
  }

  answered(name: FunctionName, status: number, took: Millis): void {
    let ledger = this.#functions.get(name);
    if (!ledger) this.#functions.set(name, (ledger = new FunctionLedger()));
    const index = status === CANCELLED ? 5 : Math.min(4, Math.max(0, Math.floor(status / 100) - 1));
    ledger.byClass[index]! += 1;
    ledger.durations.push(took / 1000);
    if (ledger.durations.length >= DURATIONS_MAX) this.#flush(name, ledger);
  }

  error(code: string): void {
    this.#metrics.counter('fn_errors_total').inc({ code });
  }

  forget(name: FunctionName): void {
    this.#functions.delete(name);
    for (const status of CLASSES) this.#metrics.counter('fn_requests_total').remove({ function: name, status });
    this.#metrics.histogram('fn_request_duration_seconds').remove({ function: name });
  }

  /** Brings the metrics up to date. */
  flush(inFlight: number, waiting: number): void {
    for (const [name, ledger] of this.#functions) this.#flush(name, ledger);
    this.#metrics.gauge('fn_requests_in_flight').set(inFlight);
    this.#metrics.gauge('fn_requests_waiting').set(waiting);
  }

  #flush(name: FunctionName, ledger: FunctionLedger): void {
    const requests = this.#metrics.counter('fn_requests_total');
    for (const [index, status] of CLASSES.entries()) {
      const count = ledger.byClass[index]!;
      if (count > 0) requests.inc({ function: name, status }, count);
    }
    ledger.byClass.fill(0);
    const histogram = this.#metrics.histogram('fn_request_duration_seconds').labels(name);
    for (const seconds of ledger.durations) histogram.observe(seconds);
    ledger.durations.length = 0;
  }
}
