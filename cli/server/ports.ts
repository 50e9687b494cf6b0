/** Looks whether the ports are free before anything starts, so that a taken one is a clear sentence and not a process that
 *  restarts for ever. Names who holds it where /proc tells. */

import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { FnError } from '../../core/errors.ts';

/** @param env the setting to change when it is taken. @returns the port, chosen by the kernel when it was 0. */
export async function requireFreePort(host: string, port: number, env: string): Promise<number> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      const holder = await holderOf(port);
      throw new FnError('port.in_use', `${host}:${port} is taken${holder ? ` by ${holder}` : ''}`, {
        hint: `Stop it, or choose another port: ${env}=${port + 1000}.`,
      });
    }
    if (code === 'EACCES') {
      throw new FnError('usage.invalid', `${env}: only root may listen on port ${port}`, {
        hint: `Choose a port from 1024 on, or run as root.`,
      });
    }
    throw new FnError('usage.invalid', `${env}: cannot listen on ${host}:${port} (${code ?? 'unknown error'})`, {
      hint: 'Use an address of this machine, such as 127.0.0.1 or 0.0.0.0.',
      cause: error,
    });
  } finally {
    server.close();
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
      const command = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      return `${command.trim()} (pid ${pid})`;
    }
  }
  return undefined;
}
