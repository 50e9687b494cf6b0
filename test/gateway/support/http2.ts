/** A client of HTTP/2, by prior knowledge or over TLS. */

import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';

export interface Reply {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
  readonly trailers: Record<string, string | string[] | undefined>;
  /** Statuses of 1xx heads before it. */
  readonly interim: readonly number[];
  /** The code its stream was closed with. */
  readonly code: number;
}

export interface Http2Client extends AsyncDisposable {
  readonly session: ClientHttp2Session;
  open(headers: OutgoingHttpHeaders, options?: object): ClientHttp2Stream;
  /** Sends the whole request; resolves when the stream is over. */
  send(headers: OutgoingHttpHeaders, body?: Buffer | string): Promise<Reply>;
}

export async function http2Client(url: string, options: SecureClientSessionOptions = {}): Promise<Http2Client> {
  const session = connect(url, options);
  session.on('error', () => {});
  await once(session, 'connect');
  const open = (headers: OutgoingHttpHeaders, streamOptions: object = {}): ClientHttp2Stream => {
    const stream = session.request(headers, streamOptions);
    stream.on('error', () => {});
    return stream;
  };
  return {
    session,
    open,
    send(headers, body) {
      const stream = open(headers, { endStream: body === undefined });
      if (body !== undefined) stream.end(body);
      return replyOf(stream);
    },
    async [Symbol.asyncDispose]() {
      if (session.destroyed) return;
      const closed = once(session, 'close');
      session.destroy();
      await closed;
    },
  };
}

/** What comes on the stream until it is over. */
export function replyOf(stream: ClientHttp2Stream): Promise<Reply> {
  const pieces: Buffer[] = [];
  const interim: number[] = [];
  let headers: Reply['headers'] = {};
  let trailers: Reply['trailers'] = {};
  stream.on('headers', (head) => void interim.push(Number(head[':status'])));
  stream.on('response', (head) => void (headers = head));
  stream.on('trailers', (tail) => void (trailers = tail));
  stream.on('data', (chunk: Buffer) => void pieces.push(chunk));
  return new Promise((resolve) => {
    stream.on('close', () => {
      const code = stream.rstCode ?? 0;
      resolve({ status: Number(headers[':status']), headers, body: Buffer.concat(pieces), trailers, interim, code });
    });
  });
}
