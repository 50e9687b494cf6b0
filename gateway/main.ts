/** The gateway as a process. It is started by root to reach sockets and ports that only root may make, and gives that up
 *  before it reads the first byte of a request. */

import { SOCKET_NAMES } from '../core/inherited.ts';
import { openPort, openUnix } from '../core/ports.ts';
import type { Service, ServiceContext } from '../core/service.ts';
import { createGateway } from './gateway.ts';

export async function startGateway(context: ServiceContext): Promise<Service> {
  const { config, log } = context;
  const ports = await openPort({
    socket: SOCKET_NAMES.gateway,
    host: config.gatewayHost,
    port: config.gatewayPort,
    env: { host: 'FN_GATEWAY_HOST', port: 'FN_GATEWAY_PORT' },
  });
  const internal = await openUnix(SOCKET_NAMES.gatewayInternal, config.paths.gatewaySocket, config.gatewayUid);
  const gateway = await createGateway(context);
  if (process.getuid?.() === 0) dropRoot(config.gatewayUid);
  for (const { fd } of ports) await gateway.listen(fd);
  for (const fd of internal) await gateway.listenTrusted(fd);
  const port = ports[0]?.port;
  log.info({ host: config.gatewayHost, port }, 'listening');
  return { facts: () => ({ port, ...gateway.facts() }), end: () => gateway.end() };
}

/** From here on the process is nobody: own uid and gid, no other groups. Everything it runs is loaded by now. */
function dropRoot(id: number): void {
  process.setgroups?.([]);
  process.setgid?.(id);
  process.setuid?.(id);
}
