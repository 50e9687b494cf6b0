/** HTTP by hand: bytes out, bytes back. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface Wire extends AsyncDisposable {
  readonly socket: Socket;
  /** Everything received so far, as latin1. */
  received(): string;
  send(data: string | Buffer): void;
  /** Resolves once what was received matches; rejects when the connection ends first. */
  until(pattern: RegExp): Promise<string>;
  /** Everything, once the other side has closed. */
  end(): Promise<string>;
}

export async function wire(to: number | string): Promise<Wire> {
  const socket = typeof to === 'number' ? connect({ port: to, host: '127.0.0.1' }) : connect({ path: to });
  await once(socket, 'connect');
  let text = '';
  const watchers = new Set<() => void>();
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    for (const look of watchers) look();
  });
  socket.on('error', () => {});
  let isClosed = false;
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      isClosed = true;
      resolve();
      for (const look of watchers) look();
    });
  });
  return {
    socket,
    received: () => text,
    send: (data) => void socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data),
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (pattern.test(text)) resolve(text);
          else if (isClosed) reject(new Error(`closed before ${String(pattern)}: ${JSON.stringify(text)}`));
          else return;
          watchers.delete(look);
        };
        watchers.add(look);
        look();
      }),
    async end() {
      await closed;
      return text;
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await closed;
    },
  };
}

/** Sends the bytes on a connection of their own; what came back when it was closed. */
export async function exchange(to: number | string, data: string | Buffer): Promise<string> {
  await using client = await wire(to);
  client.send(data);
  return await client.end(); // Awaited, or the connection would be gone first.
}
