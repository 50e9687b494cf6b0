/** The worker's end of the node-local control socket: gateways connect, say hello, and ask for instances. */

import { chmod, chown, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import type { Config } from '../core/config.ts';
import type { GatewayCalls, WorkerCalls } from '../core/control.ts';
import type { Metrics } from '../core/metrics.ts';
import { type Handlers, RpcPeer } from '../core/rpc.ts';
import type { InstanceManager } from './instances/manager.ts';
import type { GatewayLink } from './instances/owners.ts';

export async function serveControl(
  config: Config,
  manager: InstanceManager,
  metrics: Metrics,
): Promise<AsyncDisposable> {
  const path = config.paths.workerSocket;
  const peers = new Set<RpcPeer<GatewayCalls, WorkerCalls>>();
  const server: Server = createServer((socket) => {
    const key = Symbol('gateway');
    const handlers: Handlers<WorkerCalls> = {
      hello({ holds, leaving }) {
        const link: GatewayLink = { key, call: (name, input, timeout) => peer.call(name, input, timeout) };
        return { node: config.nodeId, instances: manager.owners.join(link, new Set(holds), leaving) };
      },
      leaving() {
        manager.owners.leaving(key);
        return {};
      },
      acquire: ({ revision }) => manager.acquire(revision, key),
      async loaded({ instance }) {
        await manager.loaded(instance);
        return {};
      },
      async kill({ instance, reason, invocation }) {
        await manager.kill(instance, reason, invocation);
        return { gone: true };
      },
      async autopsy({ instance }) {
        const ending = await manager.autopsy(instance);
        if (!ending) return { alive: true };
        const { reason, problem, counters } = ending;
        return { alive: false, reason, problem: problem.toProblem(), ...(counters && { counters }) };
      },
      metrics: async () => ({ text: await metrics.text() }),
    };
    const peer = new RpcPeer<GatewayCalls, WorkerCalls>(socket, handlers);
    peers.add(peer);
    void peer.closed.then(() => {
      peers.delete(peer);
      manager.owners.gone(key);
    });
  });
  await rm(path, { force: true }); // Of an earlier worker; a living one holds the lock on FN_HOME.
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  await chown(path, 0, config.gatewayUid);
  await chmod(path, 0o660);
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const peer of peers) peer.close();
      await closed;
      await rm(path, { force: true });
    },
  };
}
