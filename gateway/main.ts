/** The gateway as a process. It is started by root to reach sockets and ports that only root may make, and gives that up
 *  before it reads the first byte of a request. */

import { chown } from 'node:fs/promises';
import type { Service, ServiceContext } from '../core/service.ts';
import { createGateway } from './gateway.ts';

export async function startGateway(context: ServiceContext): Promise<Service> {
  const { config, log } = context;
  const gateway = await createGateway(context);
  const port = await gateway.listen(config.gatewayHost, config.gatewayPort);
  await gateway.listenTrusted(config.paths.gatewaySocket);
  if (process.getuid?.() === 0) {
    await chown(config.paths.gatewaySocket, config.gatewayUid, config.gatewayUid);
    dropRoot(config.gatewayUid);
  }
  log.info({ host: config.gatewayHost, port }, 'listening');
  return { facts: () => ({ port, ...gateway.facts() }), end: () => gateway.end() };
}

/** From here on the process is nobody: own uid and gid, no other groups. Everything it runs is loaded by now. */
function dropRoot(id: number): void {
  process.setgroups?.([]);
  process.setgid?.(id);
  process.setuid?.(id);
}
