/** Traces: W3C trace context in, spans out to an OpenTelemetry collector (OTLP over HTTP, JSON) when one is configured.
 *  Recording is a push to a bounded list; a collector that is away or slow costs spans, which are counted, and nothing else.
 *
 *  Our own, since a gateway has two kinds of spans and knows all of one when it ends: see docs/decisions/005-traces.md. */

import { randomBytes } from 'node:crypto';
import type { Config } from './config.ts';
import { toFnError } from './errors.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';
import { encodeSpans, type Span } from './otlp.ts';
import type { Role } from './service.ts';
import type { Millis } from './units.ts';
import { VERSION } from './version.ts';

/** OpenTelemetry's defaults for a batch span processor: maxQueueSize, maxExportBatchSize, exportTimeout. */
const QUEUE_MAX = 2048;
const BATCH = 512;
const EXPORT_WITHIN: Millis = 10_000;
/** At the end of a process nobody waits longer for its last spans. */
const LAST_WITHIN: Millis = 2000;

/** A span that has begun. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
  /** It is to be recorded. */
  readonly sampled: boolean;
}

export interface TracerOptions {
  readonly config: Pick<Config, 'node' | 'otlpEndpoint' | 'otlpHeaders' | 'serviceName' | 'traceDelay' | 'traceRatio'>;
  readonly role: Role;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random?: () => number;
}

export class Tracer implements AsyncDisposable {
  readonly #options: TracerOptions;
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #ratio: number;
  readonly #timer: NodeJS.Timeout;
  #queue: Span[] = [];
  #exporting: Promise<void> | undefined;
  #isComplaining = false;

  private constructor(options: TracerOptions) {
    const { config } = options;
    this.#options = options;
    this.#url = `${config.otlpEndpoint.replace(/\/+$/, '')}/v1/traces`;
    this.#headers = { 'content-type': 'application/json', ...headersOf(config.otlpHeaders) };
    this.#ratio = Number(config.traceRatio);
    this.#timer = setInterval(() => this.#export(), config.traceDelay).unref();
  }

  /** Undefined when no collector is configured. */
  static open(options: TracerOptions): Tracer | undefined {
    return options.config.otlpEndpoint === '' ? undefined : new Tracer(options);
  }

  /** A span below the caller's, or the first of a trace. Undefined when the caller decided that the trace is not recorded:
   *  then its context is to be passed on as it is.
   *  @param traceparent a valid one, or empty. */
  begin(traceparent: string): TraceContext | undefined {
    if (traceparent === '') return this.#root();
    const { traceId, spanId, sampled } = parseTraceparent(traceparent);
    return sampled ? { traceId, spanId: hex(8), parentId: spanId, sampled } : undefined;
  }

  /** The same for work that was asked for long ago: a trace of its own, decided upon by who asked. */
  beginLater(traceparent: string): TraceContext | undefined {
    if (traceparent === '') return this.#root();
    return parseTraceparent(traceparent).sampled ? { ...this.#root(), sampled: true } : undefined;
  }

  record(span: Span): void {
    if (this.#queue.length >= QUEUE_MAX) {
      this.#count('fn_spans_dropped_total', 1);
      return;
    }
    this.#queue.push(span);
    if (this.#queue.length >= BATCH) this.#export();
  }

  /** Sends what is left, if the collector takes it soon. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    const end = performance.now() + LAST_WITHIN;
    await this.#exporting;
    while (this.#queue.length > 0 && performance.now() < end) {
      this.#export(end - performance.now());
      await this.#exporting;
    }
    this.#count('fn_spans_dropped_total', this.#queue.length);
  }

  #root(): TraceContext {
    const { random = Math.random } = this.#options;
    return { traceId: hex(16), spanId: hex(8), parentId: '', sampled: random() < this.#ratio };
  }

  /** One batch at a time; what does not arrive is not sent again. */
  #export(within: Millis = EXPORT_WITHIN): void {
    if (this.#exporting || this.#queue.length === 0) return;
    const batch = this.#queue.splice(0, BATCH);
    this.#exporting = this.#send(batch, within).finally(() => {
      this.#exporting = undefined;
      if (this.#queue.length >= BATCH) this.#export();
    });
  }

  async #send(batch: readonly Span[], within: Millis): Promise<void> {
    const { config, role, log } = this.#options;
    const resource = { 'service.name': config.serviceName, 'service.version': VERSION, 'fn.role': role };
    const body = JSON.stringify(encodeSpans(batch, { ...resource, 'host.name': config.node }, VERSION));
    try {
      const signal = AbortSignal.timeout(Math.max(1, Math.round(within)));
      const response = await fetch(this.#url, { method: 'POST', headers: this.#headers, body, signal });
      await response.body?.cancel();
      if (!response.ok) throw new Error(`the collector answered ${response.status}`);
      this.#count('fn_spans_exported_total', batch.length);
      this.#isComplaining = false;
    } catch (error) {
      this.#count('fn_spans_dropped_total', batch.length);
      if (!this.#isComplaining) log.warn({ url: this.#url, err: toFnError(error) }, 'spans not exported');
      this.#isComplaining = true; // Once until it works again.
    }
  }

  #count(name: 'fn_spans_dropped_total' | 'fn_spans_exported_total', count: number): void {
    if (count > 0) this.#options.metrics.counter(name).inc({ process: this.#options.role }, count);
  }
}

/** Unix time of a moment of performance.now(). */
export function unixOf(monotonic: Millis): Millis {
  return performance.timeOrigin + monotonic;
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

/** @param text a valid one: `00-<trace>-<span>-<flags>`. */
export function parseTraceparent(text: string): { traceId: string; spanId: string; sampled: boolean } {
  const flags = Number.parseInt(text.slice(53, 55), 16);
  return { traceId: text.slice(3, 35), spanId: text.slice(36, 52), sampled: (flags & 1) === 1 };
}

/** W3C trace context, section 3.2.2. */
export function isTraceparent(value: string): boolean {
  return (
    /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/.test(value) &&
    (value.length === 55 || !value.startsWith('00'))
  );
}

/** `name=value,name=value`, values percent-encoded (OpenTelemetry: OTLP exporter, headers). */
function headersOf(text: string): Record<string, string> {
  const pairs = text.split(',').flatMap((pair) => {
    const equals = pair.indexOf('=');
    return equals < 1 ? [] : [[pair.slice(0, equals).trim(), decoded(pair.slice(equals + 1).trim())]];
  });
  return Object.fromEntries(pairs) as Record<string, string>;
}

/** Whoever forgot to encode a `%` meant it. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function hex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}
