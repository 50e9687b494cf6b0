/** How `fn restart` commands the supervisor: calls over a unix socket that only root may open. Not over the control API,
 *  which would have to answer while its own process is replaced, and must not be needed to replace a broken one. */

import { chmod, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { FnError } from '../../core/errors.ts';
import { RpcPeer } from '../../core/rpc.ts';
import type { Role } from '../../core/service.ts';
import type { Millis } from '../../core/units.ts';
import type { Replaced } from './supervisor.ts';

interface SupervisorCalls {
  replace: { in: { role: Role }; out: Replaced };
}
type NoCalls = object;

/** More than a start and a release may take together (kept-process.ts); those before it in the line wait too. */
const REPLACED_WITHIN: Millis = 180_000;

export async function serveSupervisor(
  path: string,
  replace: (role: Role) => Promise<Replaced>,
): Promise<AsyncDisposable> {
  const peers = new Set<RpcPeer<NoCalls, SupervisorCalls>>();
  const server = createServer((socket) => {
    const peer = new RpcPeer<NoCalls, SupervisorCalls>(socket, { replace: ({ role }) => replace(role) });
    peers.add(peer);
    void peer.closed.then(() => peers.delete(peer));
  });
  await rm(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
  await chmod(path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const peer of peers) peer.close();
      await closed;
    },
  };
}

export interface SupervisorLink extends Disposable {
  replace(role: Role): Promise<Replaced>;
}

/** @throws FnError server.unreachable when none runs, or it belongs to another user. */
export async function connectSupervisor(path: string): Promise<SupervisorLink> {
  const socket = connect({ path });
  try {
    await once(socket, 'connect');
  } catch (cause) {
    const denied = (cause as NodeJS.ErrnoException).code === 'EACCES';
    throw new FnError(
      'server.unreachable',
      denied ? `${path} may not be opened` : 'no "fn server" runs in this FN_HOME',
      {
        cause,
        ...(denied && { hint: 'Put sudo before the command.' }),
      },
    );
  }
  const peer = new RpcPeer<SupervisorCalls, NoCalls>(socket, {});
  return {
    replace: (role) => peer.call('replace', { role }, REPLACED_WITHIN),
    [Symbol.dispose]: () => peer.close(),
  };
}
