/** The few system calls Node has no function for, called directly through FFI: mounting without a fork (a fork and exec of
 *  mount(8) costs 3–4 ms, the call itself some 20 µs), listening sockets that a sandbox inherits, and exit statuses of
 *  processes that are ours by adoption. Linux, any glibc or musl; constants are the same on x86-64 and arm64. */

import koffi from 'koffi';
import { getSystemErrorName } from 'node:util';

const libc = koffi.load(null);

const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const cUmount = libc.func('int umount2(const char *target, int flags)');
const cMkfifo = libc.func('int mkfifo(const char *path, unsigned int mode)');
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const uint8_t *address, unsigned int length)');
const cListen = libc.func('int listen(int fd, int backlog)');
const cClose = libc.func('int close(int fd)');
const cPrctl = libc.func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)');
const cUnshare = libc.func('int unshare(int flags)');
const cWaitpid = libc.func('int waitpid(int pid, _Out_ int *status, int options)');

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_REMOUNT = 32;
export const MS_BIND = 4096;
export const MS_REC = 16_384;
export const MS_PRIVATE = 1 << 18;
export const MS_SHARED = 1 << 20;
const MNT_DETACH = 2;

/** A system call that failed; `code` is the errno's name, as on Node's own errors. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = getSystemErrorName(-errno);
    super(`${call}: ${code}`);
    this.code = code;
  }
}

function check(call: string, result: number): number {
  if (result < 0) throw new SystemError(call, koffi.errno());
  return result;
}

export function mount(
  source: string,
  target: string,
  type: string | null,
  flags: number,
  data: string | null = null,
): void {
  check(`mount ${target}`, cMount(source, target, type, flags, data) as number);
}

/** Detaches the mount and everything below it; false when nothing is mounted there. */
export function unmount(target: string): boolean {
  if ((cUmount(target, MNT_DETACH) as number) === 0) return true;
  const error = new SystemError(`umount ${target}`, koffi.errno());
  if (error.code === 'EINVAL' || error.code === 'ENOENT') return false;
  throw error;
}

/** Gives this thread, and the children it starts, a mount namespace of its own; shared mounts still propagate. There is no
 *  way back for the thread: setns refuses once other threads share its working directory. */
export function unshareMounts(): void {
  check('unshare', cUnshare(0x00_02_00_00) as number); // CLONE_NEWNS
}

export function makeFifo(path: string, mode: number): void {
  check(`mkfifo ${path}`, cMkfifo(path, mode) as number);
}

/** A listening unix socket as a bare descriptor. Node's own servers would accept connections meant for whoever inherits it.
 *  The caller closes it with closeFd. */
export function listenUnix(path: string, backlog: number): number {
  const bytes = Buffer.from(path);
  if (bytes.length > 107) throw new SystemError(`bind ${path}`, 36); // ENAMETOOLONG: sockaddr_un holds 107 bytes and a NUL.
  const address = Buffer.alloc(110);
  address.writeUInt16LE(1, 0); // AF_UNIX
  bytes.copy(address, 2);
  const fd = check('socket', cSocket(1, 1 | 0o2000000, 0) as number); // SOCK_STREAM | SOCK_CLOEXEC
  try {
    check(`bind ${path}`, cBind(fd, address, 2 + bytes.length + 1) as number);
    check('listen', cListen(fd, backlog) as number);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

export function closeFd(fd: number): void {
  cClose(fd);
}

/** From now on orphans below this process become its children, so that waitForExit can learn how they ended. */
export function becomeSubreaper(): void {
  check('prctl', cPrctl(36, 1, 0, 0, 0) as number); // PR_SET_CHILD_SUBREAPER, since Linux 3.4
}

export interface ExitStatus {
  readonly exitCode?: number;
  readonly signal?: number;
}

/** Collects the exit status of a child or adopted orphan without waiting. `running`, or `unknown` when it is not ours. */
export function reap(pid: number): ExitStatus | 'running' | 'unknown' {
  const status = [0];
  const result = cWaitpid(pid, status, 1) as number; // WNOHANG
  if (result === 0) return 'running';
  if (result < 0) return 'unknown';
  const [word = 0] = status;
  const signal = word & 0x7f;
  return signal === 0 ? { exitCode: (word >> 8) & 0xff } : { signal };
}
