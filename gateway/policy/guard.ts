/** Holds a request while it is decided whether it may pass, where that takes longer than the moment of its head: a look into
 *  Redis, or the whole body, when that is what is signed. Then it hands the request on, what has arrived of its body first,
 *  and only counts. */

import { FnError, toFnError } from '../../core/errors.ts';
import type { Bytes } from '../../core/units.ts';
import { BLOCKED_BY_FUNCTION } from '../connection.ts';
import type { Exchange } from '../exchange.ts';
import type { RequestHead } from '../http/parse-request.ts';
import type { Call } from './call.ts';

/** Bytes of a body held before the client is told to wait. */
const EARLY_MAX: Bytes = 64 * 1024;

export interface GuardOptions {
  /** Resolves to the head that goes on to the function; throws FnError when none does. */
  readonly decide: (body: readonly Buffer[]) => Promise<RequestHead>;
  /** Bytes of body. */
  readonly limit: Bytes;
  /** The decision needs the whole body; this is where it is accounted for. */
  readonly store: BodyStore | undefined;
  /** Hears of each error that is answered. */
  readonly refused: (error: FnError) => void;
}

/** Bounds what all bodies that are held whole may take. */
export class BodyStore {
  readonly #max: Bytes;
  #held: Bytes = 0;

  constructor(max: Bytes) {
    this.#max = max;
  }

  /** False when there is no room. */
  take(bytes: Bytes): boolean {
    if (this.#held + bytes > this.#max) return false;
    this.#held += bytes;
    return true;
  }

  give(bytes: Bytes): void {
    this.#held -= bytes;
  }
}

export class Guard implements Exchange {
  readonly #call: Call;
  readonly #options: GuardOptions;
  #pieces: Buffer[] = [];
  #size: Bytes = 0;
  /** Accounted for in the store. */
  #stored: Bytes = 0;
  #begun = false;
  #deciding = false;
  /** Of a body that was complete before the decision. */
  #trailers: string | undefined;
  #inner: Exchange | undefined;
  #over = false;

  constructor(call: Call, options: GuardOptions) {
    this.#call = call;
    this.#options = options;
  }

  body(buffer: Buffer, start: number, end: number): void {
    const { limit, store, refused } = this.#options;
    this.#size += end - start;
    const error = this.#size > limit ? tooLarge(limit) : this.#store(store, end - start);
    if (error) {
      refused(error);
      throw error; // As for the gateway's own limit, the connection answers and ends: the rest of the body is not read.
    }
    if (this.#inner) this.#inner.body(buffer, start, end);
    else this.#pieces.push(buffer.subarray(start, end));
  }

  bodyEnd(trailers: string): void {
    if (this.#inner) this.#inner.bodyEnd(trailers);
    else this.#trailers = trailers;
  }

  begin(): void {
    this.#begun = true;
    const { client, head } = this.#call;
    if (!this.#options.store || !client.bodyIncomplete) void this.#decide();
    else if (head.expectContinue && this.#size === 0) client.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
  }

  bodyFlush(): boolean {
    if (this.#inner) return this.#inner.bodyFlush();
    const { client } = this.#call;
    if (this.#options.store) {
      if (this.#begun && !client.bodyIncomplete) void this.#decide();
    } else if (this.#size > EARLY_MAX && !this.#over) client.block(BLOCKED_BY_FUNCTION, true);
    return false;
  }

  clientDrain(): void {
    this.#inner?.clientDrain();
  }

  tunnel(chunk: Buffer): void {
    this.#inner?.tunnel(chunk);
  }

  cancel(): void {
    this.#end();
    this.#inner?.cancel();
  }

  #store(store: BodyStore | undefined, bytes: Bytes): FnError | undefined {
    if (!store || this.#inner) return undefined;
    if (!store.take(bytes)) {
      return new FnError('capacity.queue_full', 'too many bodies wait to be checked', { retryAfterS: 1 });
    }
    this.#stored += bytes;
    return undefined;
  }

  #end(): void {
    this.#over = true;
    this.#drop();
  }

  /** Lets go of what was held. */
  #drop(): void {
    this.#options.store?.give(this.#stored);
    this.#stored = 0;
    this.#pieces = [];
  }

  async #decide(): Promise<void> {
    if (this.#deciding || this.#over) return;
    this.#deciding = true;
    try {
      const head = await this.#options.decide(this.#pieces);
      if (!this.#over) this.#pass(head);
    } catch (cause) {
      if (this.#over) return; // The client has gone.
      const error = toFnError(cause);
      this.#end();
      this.#options.refused(error);
      this.#call.client.fail(error);
    }
  }

  #pass(head: RequestHead): void {
    const { client } = this.#call;
    const inner = this.#call.open(head);
    this.#inner = inner;
    client.block(BLOCKED_BY_FUNCTION, false);
    for (const piece of this.#pieces) inner.body(piece, 0, piece.length);
    this.#drop();
    if (this.#trailers !== undefined) inner.bodyEnd(this.#trailers);
    inner.begin();
    if (client.bodyIncomplete) inner.bodyFlush();
  }
}

export function tooLarge(limit: Bytes): FnError {
  return new FnError('body.too_large', `the body is over ${limit} bytes`);
}
