/** How long a client may take. */

import type { Millis } from '../core/units.ts';

export interface ClientPatience {
  /** From the first byte of a head to its end. */
  readonly head: Millis;
  /** Between requests. */
  readonly idle: Millis;
  /** Without a byte of a body that is being waited for. */
  readonly body: Millis;
  /** To close its side after we have closed ours: closing with bytes of it unread would reset the connection, and lose the
   *  reply on its way. */
  readonly linger: Millis;
}

export const CLIENT_PATIENCE: ClientPatience = { head: 10_000, idle: 75_000, body: 30_000, linger: 2000 };

/** Without a request for this long, a connection is there for others to take. */
export const EVICT_AFTER: Millis = 1000;
