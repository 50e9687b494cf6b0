/** Holds a request while it is decided whether it may pass, where that takes longer than the moment of its head: a look into
 *  Redis. Then it hands the request on, what has arrived of its body first, and only counts. */

import { FnError, toFnError } from '../../core/errors.ts';
import type { Bytes } from '../../core/units.ts';
import { BLOCKED_BY_FUNCTION, type Exchange } from '../connection.ts';
import type { RequestHead } from '../http/parse-request.ts';
import type { Call } from './call.ts';

/** Bytes of a body held before the client is told to wait. */
const EARLY_MAX: Bytes = 64 * 1024;

export interface GuardOptions {
  /** Resolves to the head that goes on to the function; throws FnError when none does. */
  readonly decide: () => Promise<RequestHead>;
  /** Hears of each error that is answered. */
  readonly refused: (error: FnError) => void;
}

interface Piece {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

export class Guard implements Exchange {
  readonly #call: Call;
  readonly #options: GuardOptions;
  readonly #limit: Bytes;
  #pieces: Piece[] = [];
  #size: Bytes = 0;
  /** Of a body that was complete before the decision. */
  #trailers: string | undefined;
  #inner: Exchange | undefined;
  #over = false;

  constructor(call: Call, options: GuardOptions) {
    this.#call = call;
    this.#options = options;
    this.#limit = call.plan.bodyLimit ?? Infinity;
  }

  body(buffer: Buffer, start: number, end: number): void {
    this.#size += end - start;
    if (this.#size > this.#limit) {
      const error = tooLarge(this.#limit);
      this.#options.refused(error);
      throw error; // As for the gateway's own limit, the connection answers and ends: the rest of the body is not read.
    }
    if (this.#inner) this.#inner.body(buffer, start, end);
    else this.#pieces.push({ buffer, start, end });
  }

  bodyEnd(trailers: string): void {
    if (this.#inner) this.#inner.bodyEnd(trailers);
    else this.#trailers = trailers;
  }

  begin(): void {
    void this.#decide();
  }

  bodyFlush(): boolean {
    if (this.#inner) return this.#inner.bodyFlush();
    if (this.#size > EARLY_MAX && !this.#over) this.#call.client.block(BLOCKED_BY_FUNCTION, true);
    return false;
  }

  clientDrain(): void {
    this.#inner?.clientDrain();
  }

  tunnel(chunk: Buffer): void {
    this.#inner?.tunnel(chunk);
  }

  cancel(): void {
    this.#over = true;
    this.#inner?.cancel();
  }

  async #decide(): Promise<void> {
    try {
      const head = await this.#options.decide();
      if (!this.#over) this.#pass(head);
    } catch (cause) {
      if (this.#over) return; // The client has gone.
      const error = toFnError(cause);
      this.#over = true;
      this.#options.refused(error);
      this.#call.client.fail(error);
    }
  }

  #pass(head: RequestHead): void {
    const { client } = this.#call;
    const inner = this.#call.open(head);
    this.#inner = inner;
    client.block(BLOCKED_BY_FUNCTION, false);
    for (const { buffer, start, end } of this.#pieces) inner.body(buffer, start, end);
    this.#pieces = [];
    if (this.#trailers !== undefined) inner.bodyEnd(this.#trailers);
    inner.begin();
    if (client.bodyIncomplete) inner.bodyFlush();
  }
}

export function tooLarge(limit: Bytes): FnError {
  return new FnError('body.too_large', `the body is over ${limit} bytes`);
}
