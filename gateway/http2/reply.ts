/** Reads the reply that the data plane writes as HTTP/1.1, for HTTP/2 to send. The writer is ourselves, so this is about
 *  pieces, not about doubt: 1xx heads, the head, the body by its framing, trailers. */

import type { OutgoingHttpHeaders } from 'node:http2';
import { BodyScanner } from '../http/body.ts';
import { FieldLines, HEAD_END } from '../http/fields.ts';
import { latin1 } from '../http/latin1.ts';

export interface ReplySteps {
  /** 1xx. */
  interim(headers: OutgoingHttpHeaders): void;
  /** `end`: nothing follows, not even `over`. `trailers`: they may follow the body. */
  head(headers: OutgoingHttpHeaders, end: boolean, trailers: boolean): void;
  /** A piece of the body; valid until the bytes given to `read` are. */
  data(piece: Buffer): void;
  over(trailers: OutgoingHttpHeaders): void;
}

/** Fields of one hop of HTTP/1.1. */
const OF_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'te',
  'proxy-connection',
]);

const lines = new FieldLines();

export class ReplyReader {
  readonly #steps: ReplySteps;
  readonly #isHead: boolean;
  readonly #body = new BodyScanner();
  #partial: Buffer | undefined;
  #state: 'head' | 'body' | 'over' = 'head';

  /** @param isHead the request's method is HEAD. */
  constructor(steps: ReplySteps, isHead: boolean) {
    this.#steps = steps;
    this.#isHead = isHead;
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** @throws Error when it is no reply. */
  read(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#partial) {
      bytes = Buffer.concat([this.#partial, chunk]);
      this.#partial = undefined;
    }
    let at = 0;
    while (at < bytes.length && this.#state !== 'over')
      at = this.#state === 'head' ? this.#head(bytes, at) : this.#next(bytes, at);
  }

  #head(bytes: Buffer, at: number): number {
    const end = bytes.indexOf(HEAD_END, at);
    if (end < 0) {
      this.#partial = Buffer.from(bytes.subarray(at));
      return bytes.length;
    }
    const text = latin1(bytes, at, end + 2);
    const status = Number(text.slice(9, 12));
    const headers = headersOf(text, text.indexOf('\r\n') + 2);
    headers[':status'] = status;
    const next = end + 4;
    if (status < 200) {
      this.#steps.interim(headers);
      return next;
    }
    const length = headers['content-length'];
    const isEmpty = this.#isHead || status === 204 || status === 304;
    if (isEmpty) this.#body.beginLength(0);
    else if (length === undefined) this.#body.beginChunked();
    else this.#body.beginLength(Number(length));
    this.#state = this.#body.done ? 'over' : 'body';
    this.#steps.head(headers, this.#body.done, length === undefined);
    return next;
  }

  #next(bytes: Buffer, at: number): number {
    const body = this.#body;
    const next = body.next(bytes, at, bytes.length);
    if (next < 0) throw new Error(body.problem);
    if (body.end > body.start) this.#steps.data(bytes.subarray(body.start, body.end));
    if (body.done) {
      this.#state = 'over';
      this.#steps.over(headersOf(body.trailers, 0));
    }
    return next;
  }
}

function headersOf(text: string, at: number): OutgoingHttpHeaders {
  const headers = Object.create(null) as Record<string, string | string[] | number>;
  const wrong = lines.scan(text, at);
  if (wrong !== undefined) throw new Error(wrong);
  for (let line = 0; line < lines.count; line++) {
    const name = text.substring(lines.start[line]!, lines.nameEnd[line]).toLowerCase();
    if (OF_HOP.has(name)) continue;
    const value = lines.value(text, line);
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else headers[name] = Array.isArray(before) ? [...before, value] : [String(before), value];
  }
  return headers;
}
