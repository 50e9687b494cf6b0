/** The few things the gateway answers by itself: errors, its health, submitting and looking up asynchronous invocations. The
 *  body is collected up to a limit, then a plain handler makes the reply. */

import { FnError, toFnError } from '../core/errors.ts';
import type { ClientConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';
import type { RequestHead } from './http/parse-request.ts';
import type { PlainReply } from './http/write.ts';

export interface PageRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly head: RequestHead;
  readonly requestId: string;
  readonly body: Buffer;
}

export type PageHandler = (request: PageRequest) => PlainReply | Promise<PlainReply>;

/** Collects the body, then lets the handler answer. */
export class Page implements Exchange {
  readonly #client: ClientConnection;
  readonly #head: RequestHead;
  readonly #requestId: string;
  readonly #limit: number;
  readonly #handler: PageHandler;
  readonly #failed: (error: FnError) => void;
  readonly #pieces: Buffer[] = [];
  #size = 0;
  #begun = false;
  #over = false;

  /** @param limit bytes of body.
   *  @param failed hears of each error that is answered. */
  constructor(
    client: ClientConnection,
    head: RequestHead,
    requestId: string,
    limit: number,
    handler: PageHandler,
    failed: (error: FnError) => void,
  ) {
    this.#client = client;
    this.#head = head;
    this.#requestId = requestId;
    this.#limit = limit;
    this.#handler = handler;
    this.#failed = failed;
  }

  body(buffer: Buffer, start: number, end: number): void {
    this.#size += end - start;
    if (this.#size <= this.#limit) this.#pieces.push(buffer.subarray(start, end));
  }

  bodyEnd(): void {}

  begin(): void {
    this.#begun = true;
    const declared = this.#head.contentLength;
    if (this.#size > this.#limit || declared > this.#limit) {
      this.#fail(new FnError('body.too_large', `the body is over ${this.#limit} bytes`));
    } else if (!this.#client.bodyIncomplete) void this.#answer();
    else if (this.#head.expectContinue && this.#size === 0) this.#client.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
  }

  bodyFlush(): boolean {
    if (this.#begun && !this.#over) this.#continue();
    return false;
  }

  clientDrain(): void {}

  tunnel(): void {}

  cancel(): void {
    this.#over = true;
  }

  #continue(): void {
    if (this.#size > this.#limit) this.#fail(new FnError('body.too_large', `the body is over ${this.#limit} bytes`));
    else if (!this.#client.bodyIncomplete) void this.#answer();
  }

  async #answer(): Promise<void> {
    const { target, method } = this.#head;
    const mark = target.indexOf('?');
    try {
      const reply = await this.#handler({
        method,
        path: mark < 0 ? target : target.slice(0, mark),
        query: mark < 0 ? '' : target.slice(mark),
        head: this.#head,
        requestId: this.#requestId,
        body: Buffer.concat(this.#pieces),
      });
      if (!this.#over) this.#client.reply(reply);
      this.#over = true;
    } catch (error) {
      this.#fail(toFnError(error));
    }
  }

  #fail(error: FnError): void {
    if (this.#over) return;
    this.#over = true;
    this.#failed(error);
    this.#client.fail(error);
  }
}

/** Answers with an error, once what came with the head has been read. */
export class Refusal implements Exchange {
  readonly #client: ClientConnection;
  readonly #error: FnError;

  constructor(client: ClientConnection, error: FnError) {
    this.#client = client;
    this.#error = error;
  }

  body(): void {}
  bodyEnd(): void {}
  clientDrain(): void {}
  tunnel(): void {}
  cancel(): void {}

  bodyFlush(): boolean {
    return true;
  }

  begin(): void {
    this.#client.fail(this.#error);
  }
}
