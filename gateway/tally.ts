/** What one invocation took, from its first byte to its last: the counters of its instance's cgroup, bytes, time. Becomes its
 *  record, and the reply's x-fn-account field where the client asked for that. */

import type { Sample } from '../core/account.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { RevisionId } from '../core/ids.ts';
import type { InvocationRecord } from '../core/invocation-log.ts';
import type { Span } from '../core/otlp.ts';
import type { RevisionRecord, StartKind } from '../core/records.ts';
import { type TraceContext, unixOf } from '../core/tracer.ts';
import type { Bytes, Millis } from '../core/units.ts';
import { outcomeOf } from './endings.ts';
import type { RequestHead } from './http/parse-request.ts';
import type { Instance } from './slots/instance.ts';
import type { Baseline, Used } from './usage.ts';

export class Tally {
  startKind: StartKind = 'warm';
  bytesIn: Bytes = 0;
  bytesOut: Bytes = 0;
  status = 0;
  /** From the first byte of the request to the end, set by `close`. */
  wall: Millis = 0;
  readonly #arrivedAt: Millis;
  /** Of the invocation: of the job it is an attempt of, else of the request. */
  readonly id: string;
  readonly #requestId: string;
  readonly #method: string;
  /** Of the error, where the platform answered. */
  code: ErrorCode | undefined;
  /** The span of the invocation, if it is to have one. */
  trace: TraceContext | undefined;
  #reachedAt: Millis = 0;
  #instance: Instance | undefined;
  #baseline: Baseline | undefined;
  #used: Used | undefined;

  constructor(arrivedAt: Millis, requestId: string, { method, invocation }: RequestHead) {
    this.#arrivedAt = arrivedAt;
    this.id = invocation ?? requestId;
    this.#requestId = requestId;
    this.#method = method;
  }

  /** The instance is about to work on it. */
  begin(instance: Instance, now: Millis): void {
    this.#instance = instance;
    this.#reachedAt = now;
    this.#baseline = instance.usage?.begin(now);
    this.#used = undefined; // It may have been tried on another one.
  }

  /** Reads what was used, once: as soon as the work is done or is being ended, while the counters are still there.
   *  @param last what the worker read of them; it removes an instance's group as soon as that has ended. */
  measure(last?: Sample): void {
    if (!this.#baseline) return;
    this.#used = this.#instance?.usage?.end(this.#baseline, last);
    if (this.#used) this.#baseline = undefined;
  }

  /** @param code of the error, where the platform answered. */
  close(status: number, code: ErrorCode | undefined): void {
    this.status = status;
    this.code = code;
    this.wall = performance.now() - this.#arrivedAt;
  }

  /** How the invocation found its instance; undefined when it never did. */
  get reached(): StartKind | undefined {
    return this.#instance && this.startKind;
  }

  record(revision: RevisionId): InvocationRecord {
    return {
      id: this.id,
      at: Date.now(),
      revision,
      ...(this.#instance && { instance: this.#instance.info.id }),
      method: this.#method,
      status: this.status,
      ...(this.code && { code: this.code }),
      outcome: outcomeOf(this.status, this.code),
      start: this.startKind,
      wall: Math.round(this.wall * 1000) / 1000,
      cpu: 0,
      throttled: 0,
      shared: false,
      ...this.#used,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
    };
  }

  /** Its span, once it is over. */
  span(revision: RevisionRecord, trace: TraceContext): Span {
    const start = unixOf(this.#arrivedAt);
    const end = start + this.wall;
    const reachedAt = this.#instance && unixOf(this.#reachedAt);
    const failed = this.code ?? (this.status >= 500 ? String(this.status) : undefined);
    return {
      ...trace,
      name: `${this.#method} ${revision.function}`,
      kind: 'server',
      start,
      end,
      attributes: {
        'http.request.method': this.#method,
        'http.response.status_code': this.status,
        'http.request.body.size': this.bytesIn,
        'http.response.body.size': this.bytesOut,
        'faas.invoked_name': revision.function,
        'error.type': failed,
        'fn.revision': revision.id,
        'fn.instance': this.#instance?.info.id,
        'fn.request_id': this.#requestId,
        'fn.start': this.reached,
        'fn.wait_ms': (reachedAt ?? end) - start,
        'fn.upstream_ms': reachedAt === undefined ? undefined : end - reachedAt,
        'fn.outcome': outcomeOf(this.status, this.code),
      },
      ...(reachedAt !== undefined && { events: [{ name: 'instance', at: reachedAt }] }),
      ...(failed !== undefined && { error: failed }),
    };
  }

  /** `x-fn-account: outcome=ok;wall_ms=…` with CRLF, or empty when nothing was measured: an error is told without it. */
  field(status: number, code?: ErrorCode): string {
    const used = this.#used;
    if (!used && code === undefined) return '';
    const wall = (performance.now() - this.#arrivedAt).toFixed(2);
    const peak = used?.memoryPeak === undefined ? '' : `;memory_peak_bytes=${used.memoryPeak}`;
    const counted = used ? `;cpu_us=${used.cpu};throttled_us=${used.throttled}${peak}` : '';
    return (
      `x-fn-account: outcome=${outcomeOf(status, code)};wall_ms=${wall}${counted};start=${this.startKind}` +
      `;bytes_in=${this.bytesIn};bytes_out=${this.bytesOut};shared=${used?.shared ?? false}\r\n`
    );
  }
}
