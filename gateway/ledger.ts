/** Counts of what the gateway answered. The hot path adds to plain numbers; prom-client, which spends a microsecond on the
 *  labels of one observation, is fed when somebody looks. Labels are bounded: functions that were reached (so they exist),
 *  and words of ours; what is counted of a function goes with it. */

import type { ErrorCode } from '../core/errors.ts';
import type { FunctionName } from '../core/ids.ts';
import type { Metrics } from '../core/metrics.ts';
import type { StartKind } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

const CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'cancelled'] as const;
/** nginx's code for a client that closed before its reply. */
const CANCELLED = 499;
const KINDS: readonly StartKind[] = ['warm', 'thawed', 'claimed', 'cold'];

class FunctionLedger {
  /** By class, how long each took since the last look, seconds; bounded by `flush`. */
  readonly durations: readonly number[][] = CLASSES.map(() => []);
  readonly starts = new Float64Array(KINDS.length);
  /** Codes counted, for `forget`. */
  readonly codes = new Set<ErrorCode>();
}

const DURATIONS_MAX = 10_000;

/** What is counted of one invocation. */
export interface Answered {
  readonly status: number;
  readonly wall: Millis;
  /** Of the error, where the platform answered. */
  readonly code: ErrorCode | undefined;
  /** Undefined when it never reached an instance. */
  readonly reached: StartKind | undefined;
}

export interface Busy {
  readonly inFlight: number;
  readonly waiting: number;
}

export class Ledger {
  readonly #metrics: Metrics;
  readonly #functions = new Map<FunctionName, FunctionLedger>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  names(): FunctionName[] {
    return [...this.#functions.keys()];
  }

  answered(name: FunctionName, { status, wall, code, reached }: Answered): void {
    let ledger = this.#functions.get(name);
    if (!ledger) this.#functions.set(name, (ledger = new FunctionLedger()));
    const index = status === CANCELLED ? 5 : Math.min(4, Math.max(0, Math.floor(status / 100) - 1));
    const durations = ledger.durations[index]!;
    durations.push(wall / 1000);
    if (reached !== undefined) ledger.starts[KINDS.indexOf(reached)]! += 1;
    if (code !== undefined) this.#failed(name, ledger, code);
    if (durations.length >= DURATIONS_MAX) this.#flush(name, ledger);
  }

  error(code: string): void {
    this.#metrics.counter('fn_errors_total').inc({ code });
  }

  forget(name: FunctionName): void {
    const ledger = this.#functions.get(name);
    this.#functions.delete(name);
    for (const status of CLASSES) {
      this.#metrics.counter('fn_requests_total').remove({ function: name, status });
      this.#metrics.histogram('fn_request_duration_seconds').remove({ function: name, status });
    }
    for (const kind of KINDS) this.#metrics.counter('fn_invocation_starts_total').remove({ function: name, kind });
    for (const code of ledger?.codes ?? []) {
      this.#metrics.counter('fn_upstream_errors_total').remove({ function: name, code });
      this.#metrics.counter('fn_overload_answers_total').remove({ function: name, code });
    }
  }

  /** Brings the metrics up to date. @param busy functions with requests now. */
  flush(busy: ReadonlyMap<FunctionName, Busy>): void {
    for (const [name, ledger] of this.#functions) this.#flush(name, ledger);
    const inFlightNow = this.#metrics.gauge('fn_requests_in_flight');
    const waitingNow = this.#metrics.gauge('fn_requests_waiting');
    inFlightNow.reset();
    waitingNow.reset();
    for (const name of this.#functions.keys()) {
      inFlightNow.set({ function: name }, 0);
      waitingNow.set({ function: name }, 0);
    }
    for (const [name, { inFlight, waiting }] of busy) {
      inFlightNow.set({ function: name }, inFlight);
      waitingNow.set({ function: name }, waiting);
    }
  }

  #failed(name: FunctionName, ledger: FunctionLedger, code: ErrorCode): void {
    const counter = code.startsWith('capacity.')
      ? 'fn_overload_answers_total'
      : code.startsWith('function.')
        ? 'fn_upstream_errors_total'
        : undefined;
    if (!counter) return; // The client's fault, or ours: fn_errors_total has it.
    ledger.codes.add(code);
    this.#metrics.counter(counter).inc({ function: name, code });
  }

  #flush(name: FunctionName, { durations, starts }: FunctionLedger): void {
    const requests = this.#metrics.counter('fn_requests_total');
    for (const [index, status] of CLASSES.entries()) {
      const seconds = durations[index]!;
      if (seconds.length === 0) continue;
      requests.inc({ function: name, status }, seconds.length);
      const histogram = this.#metrics.histogram('fn_request_duration_seconds').labels(name, status);
      for (const one of seconds) histogram.observe(one);
      seconds.length = 0;
    }
    for (const [index, kind] of KINDS.entries()) {
      const count = starts[index]!;
      if (count > 0) this.#metrics.counter('fn_invocation_starts_total').inc({ function: name, kind }, count);
    }
    starts.fill(0);
  }
}
