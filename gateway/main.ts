/** The gateway as a process. It is started by root to reach sockets and ports that only root may make, and gives that up
 *  before it reads the first byte of a request. */

import type { Config } from '../core/config.ts';
import { SOCKET_NAMES } from '../core/inherited.ts';
import { openPort, openUnix, type PortOptions } from '../core/ports.ts';
import { ensureMasterKey } from '../core/secrets.ts';
import type { Service, ServiceContext } from '../core/service.ts';
import { Certificate } from './certificate.ts';
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
  const tlsPorts = config.tlsCert === '' ? [] : await openPort(tlsPort(config));
  const masterKey = await ensureMasterKey(config.paths.masterKey);
  const gateway = await createGateway({ ...context, masterKey });
  if (process.getuid?.() === 0) dropRoot(config.gatewayUid);
  // As nobody: a file that only root may read is refused now, and not when it has to be read again.
  const certificate = openCertificate(context);
  for (const { fd } of ports) await gateway.listen(fd);
  for (const { fd } of tlsPorts) if (certificate) await gateway.listenTls(fd, certificate);
  for (const fd of internal) await gateway.listenTrusted(fd);
  const facts = { port: ports[0]?.port, ...(certificate && { tlsPort: tlsPorts[0]?.port }) };
  log.info({ host: config.gatewayHost, ...facts }, 'listening');
  return {
    facts: () => ({ ...facts, ...gateway.facts() }),
    async end(mode, { hurry }) {
      if (mode === 'handover') await gateway.handOver(config.drainWithin, hurry);
      else await gateway.end();
      certificate?.[Symbol.dispose]();
    },
  };
}

function tlsPort(config: Config): PortOptions {
  return {
    socket: SOCKET_NAMES.gatewayTls,
    host: config.gatewayHost,
    port: config.tlsPort,
    env: { host: 'FN_GATEWAY_HOST', port: 'FN_TLS_PORT' },
  };
}

function openCertificate({ config, log, metrics }: ServiceContext): Certificate | undefined {
  if (config.tlsCert === '') return undefined;
  return new Certificate({ certFile: config.tlsCert, keyFile: config.tlsKey, log, metrics });
}

/** From here on the process is nobody: own uid and gid, no other groups. Everything it runs is loaded by now. */
function dropRoot(id: number): void {
  process.setgroups?.([]);
  process.setgid?.(id);
  process.setuid?.(id);
}
