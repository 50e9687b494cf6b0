/** Listening sockets as bare descriptors. Whoever makes one need not be who accepts on it: a supervisor keeps the ports of
 *  its processes open while those come and go, and a sandbox inherits the socket that it answers on. Node's own servers
 *  begin to accept at once, so these are made by hand. A socket lives as long as any process holds a descriptor of it, and
 *  connections queue in the kernel meanwhile.
 *
 *  Every descriptor made here is close-on-exec: a child gets what it is given (core/inherited.ts), and nothing else. */

import { lookup } from 'node:dns/promises';
import { check, libc, SystemError } from './libc.ts';

const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const uint8_t *address, unsigned int length)');
const cListen = libc.func('int listen(int fd, int backlog)');
const cClose = libc.func('int close(int fd)');
const cFcntl = libc.func('int fcntl(int fd, int command, int argument)');
const cSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const uint8_t *value, unsigned int length)');
const cGetsockname = libc.func('int getsockname(int fd, uint8_t *address, uint8_t *length)');
const cInetPton = libc.func('int inet_pton(int family, const char *text, uint8_t *address)');

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const STREAM_CLOEXEC = 1 | 0o2000000;
const F_DUPFD_CLOEXEC = 1030;
/** sockaddr_un holds 107 bytes of a path, and a NUL. */
const UNIX_PATH_MAX = 107;
const ENAMETOOLONG = 36;
const BACKLOG = 1024;

export interface ListeningPort {
  readonly fd: number;
  readonly port: number;
}

/** Listens on a TCP port (0: any) without accepting. The caller closes it with closeFd, or gives it to a server.
 *  @throws SystemError EADDRINUSE, EACCES, EADDRNOTAVAIL. */
export async function listenTcp(host: string, port: number): Promise<ListeningPort> {
  const { address, family } = await lookup(host);
  const isV6 = family === 6;
  const where = `${host}:${port}`;
  const name = Buffer.alloc(isV6 ? 28 : 16); // sockaddr_in6, sockaddr_in
  name.writeUInt16LE(isV6 ? AF_INET6 : AF_INET, 0);
  name.writeUInt16BE(port, 2);
  const bytes = name.subarray(isV6 ? 8 : 4);
  if ((cInetPton(isV6 ? AF_INET6 : AF_INET, address, bytes) as number) !== 1) throw new SystemError(where, 99); // EADDRNOTAVAIL
  const fd = check('socket', cSocket(isV6 ? AF_INET6 : AF_INET, STREAM_CLOEXEC, 0) as number);
  try {
    const on = Buffer.alloc(4);
    on.writeInt32LE(1);
    check('setsockopt', cSetsockopt(fd, 1, 2, on, 4) as number); // SOL_SOCKET, SO_REUSEADDR: others still wait for their end.
    check(`bind ${where}`, cBind(fd, name, name.length) as number);
    check(`listen ${where}`, cListen(fd, BACKLOG) as number);
    return { fd, port: portOf(fd) };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Listens on a unix socket without accepting. The caller closes it with closeFd. */
export function listenUnix(path: string, backlog: number = BACKLOG): number {
  const bytes = Buffer.from(path);
  if (bytes.length > UNIX_PATH_MAX) throw new SystemError(`bind ${path}`, ENAMETOOLONG);
  const address = Buffer.alloc(UNIX_PATH_MAX + 3);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  const fd = check('socket', cSocket(AF_UNIX, STREAM_CLOEXEC, 0) as number);
  try {
    check(`bind ${path}`, cBind(fd, address, 2 + bytes.length + 1) as number);
    check('listen', cListen(fd, backlog) as number);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** One more descriptor of the same socket: each server closes its own. */
export function duplicateFd(fd: number): number {
  return check('fcntl', cFcntl(fd, F_DUPFD_CLOEXEC, 3) as number);
}

export function closeFd(fd: number): void {
  cClose(fd);
}

/** The port of an internet socket. */
export function portOf(fd: number): number {
  const name = Buffer.alloc(28);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(name.length);
  check('getsockname', cGetsockname(fd, name, length) as number);
  return name.readUInt16BE(2);
}
