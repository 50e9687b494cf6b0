/** Listening sockets that were open before this process, and stay open after it, by systemd's protocol for them
 *  (sd_listen_fds(3)): descriptors from 3 on, their count in LISTEN_FDS, their names in LISTEN_FDNAMES. The supervisor
 *  passes them to its processes in this way, and systemd may pass them to any of ours. */

/** What the sockets are called; systemd's FileDescriptorName= must say the same. */
export const SOCKET_NAMES = {
  /** The gateway's port. */
  gateway: 'gateway',
  /** The gateway's port for HTTPS. */
  gatewayTls: 'gateway-tls',
  /** The gateway's unix socket for the platform's own processes. */
  gatewayInternal: 'gateway-internal',
  /** The control API's port. */
  api: 'api',
} as const;
export type SocketName = (typeof SOCKET_NAMES)[keyof typeof SOCKET_NAMES];

const FIRST = 3;

/** Descriptors of that name. They are this process' own: each is to be given to one server. */
export function inheritedSockets(
  name: SocketName,
  env: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): readonly number[] {
  // systemd says for whom they are; our supervisor cannot know the pid before, and leaves it out.
  if (env['LISTEN_PID'] !== undefined && env['LISTEN_PID'] !== String(pid)) return [];
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const count = Math.min(names.length, Number(env['LISTEN_FDS'] ?? 0));
  return names.slice(0, count).flatMap((one, index) => (one === name ? [FIRST + index] : []));
}

export type SocketsToPass = readonly (readonly [SocketName, number])[];

/** What a child that is to inherit the sockets needs in its environment; `stdio` goes from place 3 on. */
export function passSockets(sockets: SocketsToPass): { env: Record<string, string>; stdio: number[] } {
  if (sockets.length === 0) return { env: {}, stdio: [] };
  const names = sockets.map(([name]) => name).join(':');
  return {
    env: { LISTEN_FDS: String(sockets.length), LISTEN_FDNAMES: names },
    stdio: sockets.map(([, fd]) => fd),
  };
}
