/** The API on its port. */

import { once } from 'node:events';
import type { Server } from 'node:http';
import { Server as NetServer } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { SOCKET_NAMES } from '../../core/inherited.ts';
import { openPort } from '../../core/ports.ts';
import type { Millis } from '../../core/units.ts';

/** A streaming reply may go on for ever; at the end it gets this long. */
const CLOSE_WITHIN: Millis = 1000;

export interface ListeningApi extends AsyncDisposable {
  readonly port: number;
  /** Leaves new connections to whoever else accepts on the socket. Resolves when those that are here have ended: each does
   *  with its next reply, or when it was idle for as long as a client may expect it to be kept. */
  drain(signal: AbortSignal): Promise<void>;
}

export async function listen(
  app: { fetch: (request: Request) => Response | Promise<Response> },
  { apiHost, apiPort }: Pick<Config, 'apiHost' | 'apiPort'>,
): Promise<ListeningApi> {
  const ports = await openPort({
    socket: SOCKET_NAMES.api,
    host: apiHost,
    port: apiPort,
    env: { host: 'FN_API_HOST', port: 'FN_API_PORT' },
  });
  let draining = false;
  const fetch = async (request: Request): Promise<Response> => {
    const response = await app.fetch(request);
    if (draining) response.headers.set('connection', 'close');
    return response;
  };
  const server = createAdaptorServer({ fetch }) as Server;
  server.requestTimeout = 0; // An upload takes as long as it takes; its size is bounded, and so are headers:
  server.headersTimeout = 10_000;
  const [{ fd, port } = { fd: -1, port: 0 }] = ports;
  server.listen({ fd });
  await once(server, 'listening');
  return {
    port,
    async drain(signal) {
      draining = true;
      const closed = once(server, 'close', { signal });
      NetServer.prototype.close.call(server); // http's own would cut idle connections, and the request just on its way.
      await closed.catch(() => {}); // No more time: disposing cuts what is left.
    },
    async [Symbol.asyncDispose]() {
      if (!server.listening && (await connectionsOf(server)) === 0) return;
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      await Promise.race([closed, sleep(CLOSE_WITHIN)]);
      server.closeAllConnections();
      await closed;
    },
  };
}

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
}
