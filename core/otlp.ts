/** Spans as OpenTelemetry's collector takes them: an ExportTraceServiceRequest in JSON (opentelemetry-proto, "JSON Protobuf
 *  Encoding": ids in hex, 64-bit integers as text). Pure. */

import type { Millis } from './units.ts';

export interface Span {
  /** 32 and 16 hexadecimal digits. */
  readonly traceId: string;
  readonly spanId: string;
  /** Of another's span; empty for the first of a trace. */
  readonly parentId: string;
  /** A few words that many spans share. */
  readonly name: string;
  readonly kind: 'server' | 'consumer';
  /** Unix time, with fractions. */
  readonly start: Millis;
  readonly end: Millis;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
  readonly events?: readonly { readonly name: string; readonly at: Millis }[];
  /** What caused it without being its parent. */
  readonly link?: { readonly traceId: string; readonly spanId: string };
  /** Why it failed. */
  readonly error?: string;
}

const KINDS = { server: 2, consumer: 5 } as const;
const STATUS_ERROR = 2;

/** @param resource what the spans come from, such as service.name. */
export function encodeSpans(
  spans: readonly Span[],
  resource: Readonly<Record<string, string>>,
  version: string,
): unknown {
  return {
    resourceSpans: [
      {
        resource: { attributes: attributesOf(resource) },
        scopeSpans: [{ scope: { name: 'fn', version }, spans: spans.map(encodeSpan) }],
      },
    ],
  };
}

function encodeSpan(span: Span): unknown {
  const { traceId, spanId, parentId, name, kind, start, end, attributes, events = [], link, error } = span;
  return {
    traceId,
    spanId,
    ...(parentId !== '' && { parentSpanId: parentId }),
    name,
    kind: KINDS[kind],
    startTimeUnixNano: nanos(start),
    endTimeUnixNano: nanos(end),
    attributes: attributesOf(attributes),
    events: events.map((event) => ({ name: event.name, timeUnixNano: nanos(event.at) })),
    links: link ? [{ traceId: link.traceId, spanId: link.spanId }] : [],
    status: error === undefined ? {} : { code: STATUS_ERROR, message: error },
  };
}

function attributesOf(values: Readonly<Record<string, string | number | undefined>>): unknown[] {
  return Object.entries(values).flatMap(([key, value]): unknown[] => {
    if (value === undefined) return [];
    if (typeof value === 'string') return [{ key, value: { stringValue: value } }];
    return [{ key, value: Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value } }];
  });
}

/** Microseconds are all that is left of a fraction at this size. */
function nanos(time: Millis): string {
  return `${Math.round(time * 1000)}000`;
}
