/** The ports of the platform. One that cannot be had is a clear sentence and not a process that restarts for ever: it names
 *  who holds the port, where /proc tells, and the setting to change. */

import { chmod, chown, readdir, readFile, readlink, rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { FnError } from './errors.ts';
import { inheritedSockets, type SocketName } from './inherited.ts';
import { closeFd, type ListeningPort, listenTcp, listenUnix, portOf } from './sockets.ts';

export interface PortOptions {
  /** Under this name it may have been open before us. */
  readonly socket: SocketName;
  readonly host: string;
  /** 0: any. */
  readonly port: number;
  /** The settings of host and port. */
  readonly env: { readonly host: string; readonly port: string };
}

/** The port's sockets: those this process inherited, or a new one. Nobody accepts on them yet. */
export async function openPort(options: PortOptions): Promise<readonly ListeningPort[]> {
  const inherited = inheritedSockets(options.socket).map((fd) => ({ fd, port: portOf(fd) }));
  return inherited.length > 0 ? inherited : [await listen(options)];
}

/** A unix socket's descriptors: inherited, or new ones at the path. What was at the path before is replaced in one step, so
 *  that nobody ever finds nothing there.
 *  @param gid the group that may connect, besides the owner. */
export async function openUnix(socket: SocketName, path: string, gid: number): Promise<readonly number[]> {
  const inherited = inheritedSockets(socket);
  if (inherited.length > 0) return inherited;
  const temporary = `${path}~`;
  await rm(temporary, { force: true });
  const fd = listenUnix(temporary);
  try {
    if (process.getuid?.() === 0) await chown(temporary, 0, gid);
    await chmod(temporary, 0o660);
    await rename(temporary, path);
    return [fd];
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

async function listen({ host, port, env }: PortOptions): Promise<ListeningPort> {
  try {
    return await listenTcp(host, port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      const holder = await holderOf(port);
      throw new FnError('port.in_use', `${host}:${port} is taken${holder ? ` by ${holder}` : ''}`, {
        hint: `Stop it, or choose another port: ${env.port}=${port < 64_000 ? port + 1000 : port - 1000}.`,
      });
    }
    if (code === 'EACCES') {
      throw new FnError('usage.invalid', `${env.port}: only root may listen on port ${port}`, {
        hint: `Choose a port from 1024 on, or run as root.`,
      });
    }
    throw new FnError('usage.invalid', `${env.host}: cannot listen on ${host}:${port} (${code ?? 'unknown error'})`, {
      hint: 'Use an address of this machine, such as 127.0.0.1 or 0.0.0.0.',
      cause: error,
    });
  }
}

/** `nginx (pid 123)`, when this user may see it. */
async function holderOf(port: number): Promise<string | undefined> {
  const inodes = new Set<string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      // Local address ends in the port in hex; state 0A is LISTEN; field 9 is the socket's inode.
      if (fields[3] === '0A' && Number.parseInt(fields[1]?.split(':')[1] ?? '', 16) === port) {
        inodes.add(`socket:[${fields[9]}]`);
      }
    }
  }
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (!inodes.has(target)) continue;
      // Not comm: that is the name of a thread, "MainThread" for node.
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      return `${basename(/^[^\0 :]*/.exec(command)?.[0] ?? '')} (pid ${pid})`;
    }
  }
  return undefined;
}
