/** An OpenTelemetry collector as far as we speak to one: takes OTLP over HTTP as JSON and refuses what the protocol does not
 *  allow (opentelemetry-proto, trace.proto; ids in hex, 64-bit integers as text). */

import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { z } from 'zod';

const uint64 = z.string().regex(/^\d{1,20}$/);
const attribute = z.strictObject({
  key: z.string().min(1),
  value: z.union([
    z.strictObject({ stringValue: z.string() }),
    z.strictObject({ intValue: z.string().regex(/^-?\d+$/) }),
    z.strictObject({ doubleValue: z.number() }),
  ]),
});
const traceId = z.string().regex(/^(?!0{32})[0-9a-f]{32}$/);
const spanId = z.string().regex(/^(?!0{16})[0-9a-f]{16}$/);
const span = z
  .strictObject({
    traceId,
    spanId,
    parentSpanId: spanId.optional(),
    name: z.string().min(1),
    kind: z.int().min(1).max(5),
    startTimeUnixNano: uint64,
    endTimeUnixNano: uint64,
    attributes: z.array(attribute),
    events: z.array(z.strictObject({ name: z.string(), timeUnixNano: uint64 })),
    links: z.array(z.strictObject({ traceId, spanId })),
    status: z.strictObject({ code: z.int().min(0).max(2).optional(), message: z.string().optional() }),
  })
  .refine((one) => BigInt(one.endTimeUnixNano) >= BigInt(one.startTimeUnixNano), 'ends before it starts');
const request = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: z.strictObject({ attributes: z.array(attribute) }),
      scopeSpans: z.array(
        z.strictObject({ scope: z.strictObject({ name: z.string(), version: z.string() }), spans: z.array(span) }),
      ),
    }),
  ),
});

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parent: string | undefined;
  readonly name: string;
  readonly kind: number;
  readonly links: readonly { traceId: string; spanId: string }[];
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly resource: Readonly<Record<string, string | number>>;
}

export interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly spans: CollectedSpan[];
  readonly headers: IncomingHttpHeaders[];
  /** What was wrong with what came. */
  readonly complaints: string[];
  /** How it answers: a status, or not at all. */
  answer: number | 'never';
}

export async function startCollector(): Promise<Collector> {
  const server = createServer((incoming, outgoing) => {
    void text(incoming).then((body) => {
      collector.headers.push(incoming.headers);
      if (collector.answer === 'never') return;
      const parsed = request.safeParse(JSON.parse(body));
      const wrong = incoming.url !== '/v1/traces' || incoming.headers['content-type'] !== 'application/json';
      if (wrong || !parsed.success) {
        collector.complaints.push(parsed.error?.message ?? `${incoming.url} ${incoming.headers['content-type']}`);
        outgoing.writeHead(400).end();
        return;
      }
      if (collector.answer === 200) collector.spans.push(...spansIn(parsed.data));
      outgoing.writeHead(collector.answer, { 'content-type': 'application/json' }).end('{"partialSuccess":{}}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: [],
    headers: [],
    complaints: [],
    answer: 200,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return collector;
}

function spansIn({ resourceSpans }: z.output<typeof request>): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((one) => ({
        traceId: one.traceId,
        spanId: one.spanId,
        parent: one.parentSpanId,
        name: one.name,
        kind: one.kind,
        links: one.links,
        failed: one.status.code === 2,
        attributes: valuesOf(one.attributes),
        resource: valuesOf(resource.attributes),
      })),
    ),
  );
}

function valuesOf(attributes: readonly z.output<typeof attribute>[]): Record<string, string | number> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => {
      if ('stringValue' in value) return [key, value.stringValue];
      return [key, 'intValue' in value ? Number(value.intValue) : value.doubleValue];
    }),
  );
}
