/** Where a body ends. One scanner serves every body of a connection, in both directions: it is told the framing, then shown
 *  the bytes as they arrive, and says which of them are payload. Chunked bodies are read strictly (RFC 9112 section 7.1):
 *  hexadecimal digits without sign, prefix or blanks, CRLF and nothing like it, bounded extensions (dropped) and trailers.
 *
 *  No callbacks: `next` takes one step and leaves the payload it found in `start` and `end`, so a body costs no allocation. */

import { FieldLines } from './fields.ts';
import { latin1 } from './latin1.ts';

/** Bytes of chunk extensions in one body: enough for any honest use, too few to flood with (CVE-2024-22019). */
const EXTENSION_MAX = 4096;
const TRAILER_MAX = 8192;
/** Digits of one chunk size. Leading zeros are allowed, but no flood of them. */
const SIZE_DIGITS_MAX = 16;

const LENGTH = 0;
const UNTIL_CLOSE = 1;
const SIZE_FIRST = 2;
const SIZE = 3;
const EXTENSION = 4;
const SIZE_LF = 5;
const DATA = 6;
const DATA_CR = 7;
const DATA_LF = 8;
const TRAILER = 9;
const DONE = 10;
const FAILED = 11;

const lines = new FieldLines();

/** Fields that would change how the message is framed, routed or trusted if a trailer could set them. */
const FRAMING = ['content-length', 'transfer-encoding', 'host', 'trailer', 'connection', 'upgrade', 'te', 'expect'];
/** Fields that only the gateway sets. */
const OURS = ['x-fn-', 'x-forwarded-', 'forwarded', 'x-request-id'];

export class BodyScanner {
  /** Payload found by the last step: bytes start to end of the buffer it was shown. */
  start = 0;
  end = 0;
  /** Payload bytes so far. */
  total = 0;
  /** After the end of a chunked body: its trailer lines, each with CRLF. */
  trailers = '';
  /** After `next` returned -1: what is wrong. */
  problem = '';
  #state = DONE;
  #left = 0;
  #extensions = 0;
  #digits = 0;
  #trailerText = '';

  get done(): boolean {
    return this.#state === DONE;
  }

  /** A body that ends with the connection. */
  get untilClose(): boolean {
    return this.#state === UNTIL_CLOSE;
  }

  /** @param length bytes; -1 for a body that ends with the connection. */
  beginLength(length: number): void {
    this.#reset();
    this.#left = length;
    this.#state = length > 0 ? LENGTH : length === 0 ? DONE : UNTIL_CLOSE;
  }

  beginChunked(): void {
    this.#reset();
    this.#state = SIZE_FIRST;
  }

  #reset(): void {
    this.start = this.end = this.total = this.#left = this.#extensions = 0;
    this.trailers = this.#trailerText = '';
  }

  /** Reads bytes from `at` up to `length` of the buffer; returns where it stopped, or -1 when the body is malformed. Call until it is `done` or everything
   *  is read. */
  next(buffer: Buffer, at: number, length: number): number {
    this.start = this.end = at;
    switch (this.#state) {
      case LENGTH:
      case DATA: {
        const take = Math.min(this.#left, length - at);
        this.#left -= take;
        if (this.#left === 0) this.#state = this.#state === DATA ? DATA_CR : DONE;
        return this.#payload(at, take);
      }
      case UNTIL_CLOSE:
        return this.#payload(at, length - at);
      default:
        return this.#framing(buffer, at, length);
    }
  }

  #payload(at: number, bytes: number): number {
    this.start = at;
    this.end = at + bytes;
    this.total += bytes;
    return this.end;
  }

  /** Everything between payloads. Stops at the first byte of payload, at the end of the body, or at the buffer's. */
  #framing(buffer: Buffer, at: number, length: number): number {
    while (at < length) {
      if (this.#state === TRAILER) return this.#trailer(buffer, at, length);
      const byte = buffer[at++]!;
      switch (this.#state) {
        case SIZE_FIRST: {
          this.#left = hex(byte);
          if (this.#left < 0) return this.#fail('a chunk size is not hexadecimal');
          this.#digits = 1;
          this.#state = SIZE;
          break;
        }
        case SIZE: {
          const digit = hex(byte);
          if (digit >= 0) {
            this.#left = this.#left * 16 + digit;
            if (this.#left > 2 ** 48) return this.#fail('a chunk is too large');
            if (++this.#digits > SIZE_DIGITS_MAX) return this.#fail('a chunk size is padded');
            break;
          }
          if (byte === 13) this.#state = SIZE_LF;
          else if (byte === 59) this.#state = EXTENSION;
          else return this.#fail('a chunk size is not hexadecimal');
          break;
        }
        case EXTENSION:
          if (++this.#extensions > EXTENSION_MAX) return this.#fail('too many chunk extensions');
          if (byte === 13) this.#state = SIZE_LF;
          else if ((byte < 32 && byte !== 9) || byte === 127)
            return this.#fail('a control character in a chunk extension');
          break;
        case SIZE_LF:
          if (byte !== 10) return this.#fail('a bare CR after a chunk size');
          if (this.#left > 0) {
            this.#state = DATA;
            return at;
          }
          this.#state = TRAILER;
          break;
        case DATA_CR:
          if (byte !== 13) return this.#fail('a chunk is longer than its size');
          this.#state = DATA_LF;
          break;
        case DATA_LF:
          if (byte !== 10) return this.#fail('a bare CR after a chunk');
          this.#state = SIZE_FIRST;
          break;
        default:
          return this.#fail('bytes after the end');
      }
    }
    return at;
  }

  #trailer(buffer: Buffer, at: number, length: number): number {
    const before = this.#trailerText.length;
    const text = this.#trailerText + latin1(buffer, at, Math.min(length, at + TRAILER_MAX));
    if (text.startsWith('\r\n')) {
      this.#state = DONE;
      return at + 2 - before;
    }
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) {
      if (text.length >= TRAILER_MAX) return this.#fail('the trailers are too long');
      if (/[^\r]\n|^\n|\r[^\n]/.test(text)) return this.#fail('a bare CR or LF in a trailer');
      this.#trailerText = text;
      return length;
    }
    const problem = lines.scan(text.slice(0, end + 2), 0);
    if (problem !== undefined) return this.#fail(`${problem}, in a trailer`);
    for (let line = 0; line < lines.count; line++) {
      if (FRAMING.some((name) => lines.is(text, line, name))) return this.#fail('a framing field in a trailer');
      if (OURS.some((prefix) => lines.hasPrefix(text, line, prefix))) lines.dropped[line] = 1;
    }
    this.trailers = lines.kept(text);
    this.#state = DONE;
    return at + end + 4 - before;
  }

  #fail(problem: string): -1 {
    this.problem = problem;
    this.#state = FAILED;
    return -1;
  }
}

function hex(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
