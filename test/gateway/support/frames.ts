/** Frames of HTTP/2 by hand (RFC 9113 section 4, RFC 7541), for what no library would send. */

import { connect, type Socket } from 'node:net';
import { once } from 'node:events';

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer | number[] = []): Buffer {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

/** A header block: literal fields, never indexed, without Huffman coding. */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    const size = bytes.length;
    if (size < 127) return Buffer.concat([Buffer.from([size]), bytes]);
    const digits = [127];
    let rest = size - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) digits.push((rest % 128) + 128);
    return Buffer.concat([Buffer.from([...digits, rest]), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0x10]), text(name), text(value)]));
}

/** A request's fields, `more` after the pseudo-fields. */
export function request(path: string, method = 'GET', more: readonly (readonly [string, string])[] = []) {
  const pseudo = [
    [':method', method],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'a'],
  ] as const;
  return [...pseudo, ...more];
}

export interface FrameClient extends AsyncDisposable {
  readonly socket: Socket;
  /** Frames received so far. */
  readonly frames: readonly Frame[];
  /** Sends, and waits while the socket has enough; false when the connection is closed. */
  send(...frames: readonly Buffer[]): Promise<boolean>;
  closed(): boolean;
  /** The error code of the GOAWAY that came, if one did. */
  goaway(): number | undefined;
}

/** Connected, the preface and our (empty) SETTINGS sent. */
export async function frameClient(port: number): Promise<FrameClient> {
  const socket = connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  const frames: Frame[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let isClosed = false;
  socket.on('error', () => {});
  socket.on('close', () => void (isClosed = true));
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      frames.push({ type: rest[3]!, flags: rest[4]!, stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
      rest = rest.subarray(end);
    }
  });
  const client: FrameClient = {
    socket,
    frames,
    async send(...pieces) {
      if (isClosed || socket.destroyed) return false;
      if (!socket.write(Buffer.concat(pieces))) {
        const over = new AbortController();
        const { signal } = over;
        const drained = once(socket, 'drain', { signal }).catch(() => {});
        await Promise.race([drained, once(socket, 'close', { signal }).catch(() => {})]);
        over.abort();
      }
      return !isClosed && !socket.destroyed;
    },
    closed: () => isClosed,
    goaway: () => frames.find(({ type }) => type === GOAWAY)?.payload.readUInt32BE(4),
    async [Symbol.asyncDispose]() {
      socket.destroy();
      if (!isClosed) await once(socket, 'close');
    },
  };
  await client.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0));
  return client;
}
