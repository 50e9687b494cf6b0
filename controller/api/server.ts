/** The API on its port. */

import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import type { Millis } from '../../core/units.ts';

/** A streaming reply may go on for ever; at the end it gets this long. */
const CLOSE_WITHIN: Millis = 1000;

export interface ListeningApi extends AsyncDisposable {
  readonly port: number;
}

export async function listen(
  app: { fetch: (request: Request) => Response | Promise<Response> },
  { apiHost, apiPort }: Pick<Config, 'apiHost' | 'apiPort'>,
): Promise<ListeningApi> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.requestTimeout = 0; // An upload takes as long as it takes; its size is bounded, and so are headers:
  server.headersTimeout = 10_000;
  server.listen(apiPort, apiHost);
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      const hint = 'Stop what uses it, or set FN_API_PORT.';
      throw new FnError('port.in_use', `${apiHost}:${apiPort}, the control API's address, is taken`, {
        hint,
        cause: error,
      });
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EACCES') {
      throw new FnError('usage.invalid', `the control API cannot listen on ${apiHost}:${apiPort} (${code})`, {
        hint: 'Set FN_API_HOST to an address of this machine and FN_API_PORT to a port you may use.',
        cause: error,
      });
    }
    throw error;
  }
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      await Promise.race([closed, sleep(CLOSE_WITHIN)]);
      server.closeAllConnections();
      await closed;
    },
  };
}
