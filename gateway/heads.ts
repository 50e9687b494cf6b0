/** The heads an invocation writes: the request for the function, the reply for the client. Both are the lines that came and
 *  may pass, then the framing of this hop, then what only the gateway can say. */

import type { FunctionName } from '../core/ids.ts';
import { formatTraceparent, type TraceContext } from '../core/tracer.ts';
import type { Millis } from '../core/units.ts';
import type { ReplyHead } from './http/parse-reply.ts';
import type { RequestHead } from './http/parse-request.ts';
import { randomHex } from './http/random-ids.ts';
import { withoutFields } from './policy/fields.ts';

const TRACEPARENT = ['traceparent'];

/** @param target path and query for the function.
 *  @param forwarded the lines of ClientOrigin's `forwardedFor`.
 *  @param deadline unix ms.
 *  @param trace our own span, of which the function's are to be children. */
export function functionHead(
  head: RequestHead,
  target: string,
  name: FunctionName,
  forwarded: string,
  requestId: string,
  deadline: Millis,
  trace: TraceContext | undefined,
): string {
  const { method, fields, contentLength, chunked, webSocket, traceparent, host } = head;
  let text = `${method} ${target} HTTP/1.1\r\n${trace ? withoutFields(fields, TRACEPARENT) : fields}`;
  if (host === '') text += `host: ${name}\r\n`; // HTTP/1.0 may lack one, 1.1 may not.
  if (contentLength >= 0) text += `content-length: ${contentLength}\r\n`;
  else if (chunked) text += 'transfer-encoding: chunked\r\n';
  if (webSocket) text += 'connection: Upgrade\r\nupgrade: websocket\r\n';
  if (trace) text += `traceparent: ${formatTraceparent(trace)}\r\n`;
  else if (traceparent === '') text += `traceparent: 00-${randomHex(32)}-${randomHex(16)}-01\r\n`;
  return `${text}${forwarded}x-request-id: ${requestId}\r\nx-fn-deadline: ${deadline}\r\n\r\n`;
}

/** How the client learns where the reply ends. `none`: it has no body. */
export type Framing = 'length' | 'chunked' | 'close' | 'none';

export function framingFor(request: RequestHead, reply: ReplyHead): Framing {
  const hasBody = request.method !== 'HEAD' && reply.status !== 204 && reply.status !== 304;
  if (!hasBody) return 'none';
  if (reply.contentLength >= 0) return 'length';
  return request.http10 ? 'close' : 'chunked';
}

/** The fields that tell the framing. A reply to HEAD and a 304 keep the length of the body they stand for. */
export function framingFields(request: RequestHead, reply: ReplyHead): string {
  if (reply.status === 204) return '';
  if (reply.contentLength >= 0) return `content-length: ${reply.contentLength}\r\n`;
  if (request.http10 || reply.status === 304) return '';
  return request.method === 'HEAD' && !reply.chunked ? '' : 'transfer-encoding: chunked\r\n';
}
