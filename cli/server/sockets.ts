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
  #ports = { gatewayPort: 0, apiPort: 0 };

  /** @throws FnError port.in_use and the like. What did open is closed by disposing. */
  async open(config: Config): Promise<void> {
    const gateway = await openPort({
      socket: SOCKET_NAMES.gateway,
      host: config.gatewayHost,
      port: config.gatewayPort,
      env: { host: 'FN_GATEWAY_HOST', port: 'FN_GATEWAY_PORT' },
    });
    const fds = gateway.map(({ fd }) => fd);
    this.#fds.push(...fds);
    const api = await openPort({
      socket: SOCKET_NAMES.api,
      host: config.apiHost,
      port: config.apiPort,
      env: { host: 'FN_API_HOST', port: 'FN_API_PORT' },
    });
    const apiFds = api.map(({ fd }) => fd);
    this.#fds.push(...apiFds);
    const internal = await openUnix(SOCKET_NAMES.gatewayInternal, config.paths.gatewaySocket, config.gatewayUid);
    this.#fds.push(...internal);
    this.#ports = { gatewayPort: gateway[0]?.port ?? 0, apiPort: api[0]?.port ?? 0 };
    this.#byRole.set('gateway', [
      ...fds.map((fd) => [SOCKET_NAMES.gateway, fd] as const),
      ...internal.map((fd) => [SOCKET_NAMES.gatewayInternal, fd] as const),
    ]);
    this.#byRole.set(
      'controller',
      apiFds.map((fd) => [SOCKET_NAMES.api, fd] as const),
    );
  }

  /** The real ones, where 0 was asked for. */
  get ports(): Readonly<Pick<Config, 'gatewayPort' | 'apiPort'>> {
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
