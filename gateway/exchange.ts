/** What answers one request: an invocation, one of the gateway's own pages, a refusal. */

/** Calls follow this order: body*, bodyEnd?, begin, (body*, bodyEnd?, bodyFlush)*. */
export interface Exchange {
  /** A piece of the body; valid as long as the buffer is. */
  body(buffer: Buffer, start: number, end: number): void;
  bodyEnd(trailers: string): void;
  /** What came with the head has been handed over: answer. */
  begin(): void;
  /** What arrived together has been handed over. True when nothing of its buffer is held any more. */
  bodyFlush(): boolean;
  /** The client takes bytes again. */
  clientDrain(): void;
  /** After an upgrade: bytes of the other protocol. */
  tunnel(chunk: Buffer): void;
  /** The client has gone, or its body turned out malformed: nobody waits for a reply. */
  cancel(): void;
}
