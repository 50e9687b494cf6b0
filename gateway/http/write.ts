/** Heads of replies we write ourselves, and the pieces of others. */

import type { FnError } from '../../core/errors.ts';
import { STATUS_CODES } from 'node:http';

let dateLine = '';
let dateSecond = 0;

/** `date: …` with CRLF, made once a second (RFC 9110 6.6.1: a reply that lacks it gets it). */
export function dateField(now: number): string {
  const second = Math.floor(now / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateLine = `date: ${new Date(second * 1000).toUTCString()}\r\n`;
  }
  return dateLine;
}

/** What a status is called, for a reply that does not say: old clients show it. */
export function reasonOf(status: number): string {
  return STATUS_CODES[status] ?? '';
}

export interface PlainReply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The error as problem+json. Log lines travel along: they are what a user needs first. */
export function problemReply(error: FnError, requestId: string): PlainReply {
  const { retryAfterS, data } = error.options;
  const allow = Array.isArray(data?.['allow']) ? data['allow'].join(', ') : '';
  return {
    status: error.status,
    type: 'application/problem+json',
    body: `${JSON.stringify(error.toProblem({ component: 'gateway', requestId }))}\n`,
    headers: {
      'x-fn-error': error.code,
      ...(retryAfterS !== undefined && { 'retry-after': String(retryAfterS) }),
      ...(error.code === 'request.method_refused' && { allow }),
    },
  };
}

export function jsonReply(status: number, value: unknown, headers?: Record<string, string>): PlainReply {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n`, ...(headers && { headers }) };
}

/** A whole reply in one buffer. `lines` are further lines of the head, the Connection field's among them. */
export function renderReply(reply: PlainReply, requestId: string, lines: string, withBody: boolean): Buffer {
  const body = Buffer.from(reply.body);
  let head = `HTTP/1.1 ${reply.status} ${reasonOf(reply.status)}\r\n`;
  if (reply.status !== 204) head += `content-type: ${reply.type}\r\ncontent-length: ${body.length}\r\n`;
  head += `x-request-id: ${requestId}\r\n${dateField(Date.now())}`;
  for (const [name, value] of Object.entries(reply.headers ?? {})) head += `${name}: ${value}\r\n`;
  head += `${lines}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), withBody ? body : Buffer.alloc(0)]);
}
