/** The listening sockets of the platform's processes. The supervisor holds them and accepts on none: a process that is
 *  replaced, or dies, leaves its clients waiting in the kernel's queue instead of refused. */

import type { Config } from '../../core/config.ts';
import { SOCKET_NAMES, type SocketsToPass } from '../../core/inherited.ts';
import { openPort, openUnix } from '../../core/ports.ts';
import type { Role } from '../../core/service.ts';
import { closeFd } from '../../core/sockets.ts';

export class Sockets implements Disposable {
  readonly #fds: number[] = [];
  readonly #byRole = new Map<Role, SocketsToPass>();
  #ports = { gatewayPort: 0, tlsPort: 0, apiPort: 0 };

  /** @throws FnError port.in_use and the like. What did open is closed by disposing. */
  async open(config: Config): Promise<void> {
    const { gatewayHost, apiHost } = config;
    const gateway = await this.#port('gateway', gatewayHost, 'FN_GATEWAY_HOST', config.gatewayPort, 'FN_GATEWAY_PORT');
    const tls =
      config.tlsCert === ''
        ? { sockets: [], port: config.tlsPort }
        : await this.#port('gatewayTls', gatewayHost, 'FN_GATEWAY_HOST', config.tlsPort, 'FN_TLS_PORT');
    const api = await this.#port('api', apiHost, 'FN_API_HOST', config.apiPort, 'FN_API_PORT');
    const internal = await openUnix(SOCKET_NAMES.gatewayInternal, config.paths.gatewaySocket, config.gatewayUid);
    this.#fds.push(...internal);
    this.#ports = { gatewayPort: gateway.port, tlsPort: tls.port, apiPort: api.port };
    const internalSockets = internal.map((fd) => [SOCKET_NAMES.gatewayInternal, fd] as const);
    this.#byRole.set('gateway', [...gateway.sockets, ...tls.sockets, ...internalSockets]);
    this.#byRole.set('controller', api.sockets);
  }

  async #port(
    name: keyof typeof SOCKET_NAMES,
    host: string,
    hostEnv: string,
    port: number,
    portEnv: string,
  ): Promise<{ sockets: SocketsToPass; port: number }> {
    const socket = SOCKET_NAMES[name];
    const opened = await openPort({ socket, host, port, env: { host: hostEnv, port: portEnv } });
    this.#fds.push(...opened.map(({ fd }) => fd));
    return { sockets: opened.map(({ fd }) => [socket, fd] as const), port: opened[0]?.port ?? 0 };
  }

  /** The real ones, where 0 was asked for. */
  get ports(): Readonly<Pick<Config, 'gatewayPort' | 'tlsPort' | 'apiPort'>> {
    return this.#ports;
  }

  /** What a process of the role inherits. */
  of(role: Role): SocketsToPass {
    return this.#byRole.get(role) ?? [];
  }

  /** From now on clients that nobody has accepted are refused, once the processes have closed theirs too. */
  [Symbol.dispose](): void {
    for (const fd of this.#fds.splice(0)) closeFd(fd);
    this.#byRole.clear();
  }
}
