/** What is about to be written to a socket. A head and a small body leave as one latin1 string in one system call, which
 *  node writes without allocating a buffer; large pieces stay
 *  buffers. */

import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { free } from './free.ts';
import { latin1 } from './latin1.ts';

/** Above this, copying a piece into the string costs more than a second element in writev(2). */
const COPY_MAX = 4096;

export class Outbox {
  #text = '';
  #parts: (string | Buffer)[] = [];
  /** Bytes held. */
  size = 0;

  text(text: string): void {
    this.#text += text;
    this.size += text.length;
  }

  /** @param lent the buffer is used for something else afterwards. */
  bytes(buffer: Buffer, start: number, end: number, lent: boolean): void {
    const length = end - start;
    this.size += length;
    if (length <= COPY_MAX) this.#text += latin1(buffer, start, end);
    else {
      let piece = buffer.subarray(start, end);
      if (lent) piece = Buffer.from(piece);
      this.#parts.push(this.#text, piece);
      this.#text = '';
    }
  }

  /** Puts a head before everything held. */
  prepend(text: string): void {
    this.size += text.length;
    if (this.#parts.length === 0) this.#text = text + this.#text;
    else this.#parts[0] = text + (this.#parts[0] as string);
  }

  /** All of it as one string, when it is small enough to be one. */
  get asText(): string | undefined {
    return this.#parts.length === 0 ? this.#text : undefined;
  }

  /** Writes everything; false when the socket wants no more for now. */
  flush(socket: Writable): boolean {
    const text = this.#text;
    this.#text = '';
    this.size = 0;
    if (this.#parts.length === 0) return text === '' || socket.write(text, 'latin1');
    const parts = this.#parts;
    this.#parts = [];
    socket.cork();
    for (const part of parts) {
      if (typeof part !== 'string') writeOnce(socket, part);
      else if (part !== '') socket.write(part, 'latin1');
    }
    if (text !== '') socket.write(text, 'latin1');
    socket.uncork();
    return !socket.writableNeedDrain;
  }

  clear(): void {
    this.#text = '';
    this.#parts = [];
    this.size = 0;
  }
}

/** Writes a buffer that nobody needs afterwards. A real socket has it in the kernel when it calls back; other streams may
 *  still pass it on. */
function writeOnce(socket: Writable, buffer: Buffer): void {
  if (socket instanceof Socket) socket.write(buffer, () => free(buffer));
  else socket.write(buffer);
}
