/** One stream of HTTP/2 as the socket of a client that sends one request of HTTP/1.1: so a stream is answered by the same
 *  code, under the same rules and patience, as every other request. Bytes wait on one side for as long as the other side
 *  does, by the flow control of both. */

import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import type { ClientSocket } from '../door.ts';
import { free } from '../http/free.ts';
import { ReplyReader } from './reply.ts';
import { type Http2Request, trailerLines } from './request.ts';

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;
const CRLF = Buffer.from('\r\n');

export class StreamSocket extends Duplex implements ClientSocket {
  readonly remoteAddress: string | undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #chunked: boolean;
  readonly #reply: ReplyReader;
  #requestTrailers = '';
  #replyTrailers: OutgoingHttpHeaders = {};
  /** The request is complete. */
  #received = false;
  /** The reply is complete, and the stream has taken all of it. */
  #sent = false;
  /** Pieces of what is being written that the stream has not taken yet. */
  #untaken = 0;
  #taken: (() => void) | undefined;

  constructor(stream: ServerHttp2Stream, request: Http2Request, remoteAddress: string | undefined) {
    super({ allowHalfOpen: true });
    this.remoteAddress = remoteAddress;
    this.#stream = stream;
    this.#chunked = request.chunked;
    this.#reply = this.#replyReader(request.method === 'HEAD');
    this.push(Buffer.from(request.head, 'latin1'));
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('trailers', (_headers, _flags, raw) => void (this.#requestTrailers = trailerLines(raw)));
    stream.on('end', () => this.#ended());
    stream.on('wantTrailers', () => stream.sendTrailers(this.#replyTrailers));
    stream.on('finish', () => this.#finished());
    stream.on('error', () => {}); // 'close' follows.
    stream.on('close', () => this.destroy());
  }

  /** As `destroy`: there is no goodbye of the other side to wait for. */
  destroySoon(): void {
    this.destroy();
  }

  override _read(): void {
    this.#stream.resume();
  }

  /** The chunk is given away by whoever writes it. */
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#taken = () => {
      if (!this.#stream.destroyed) free(chunk);
      done();
    };
    this.#untaken = 1;
    try {
      if (this.#stream.destroyed) throw new Error('the stream is closed');
      this.#reply.read(chunk);
      this.#pieceTaken();
    } catch (error) {
      this.#taken = undefined;
      done(error as Error);
    }
  }

  override _final(done: () => void): void {
    this.#sent = this.#reply.isOver;
    done();
    if (!this.#sent) this.destroy();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // What came of the reply must not look whole.
    if (!this.#sent && !this.#stream.closed) this.#stream.close(NGHTTP2_INTERNAL_ERROR);
    done(error);
  }

  #take(chunk: Buffer): void {
    // A copy: the bytes are lent by the session, and whoever is last to hold ours gives their memory back.
    const bytes = this.#chunked
      ? Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, CRLF])
      : Buffer.from(chunk);
    if (!this.push(bytes)) this.#stream.pause();
  }

  #ended(): void {
    this.#received = true;
    if (this.#chunked) this.push(Buffer.from(`0\r\n${this.#requestTrailers}\r\n`, 'latin1'));
  }

  #replyReader(isHead: boolean): ReplyReader {
    const stream = this.#stream;
    return new ReplyReader(
      {
        interim: (headers) => stream.additionalHeaders(headers),
        head: (headers, end, trailers) =>
          stream.respond(headers, { endStream: end, waitForTrailers: trailers && !end }),
        data: (piece) => {
          this.#untaken++;
          stream.write(piece, () => this.#pieceTaken());
        },
        over: (trailers) => {
          this.#replyTrailers = trailers;
          stream.end();
        },
      },
      isHead,
    );
  }

  #pieceTaken(): void {
    if (--this.#untaken > 0) return;
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }

  /** The reply is out. A body that nobody wants any more is refused without calling that an error (RFC 9113 section 8.1). */
  #finished(): void {
    if (!this.#received && !this.#stream.closed) this.#stream.close(NGHTTP2_NO_ERROR);
  }
}
