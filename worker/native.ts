/** The system calls of the worker: mounting without a fork (a fork and exec of mount(8) costs 3–4 ms, the call itself some
 *  20 µs), and exit statuses of processes that are ours by adoption. */

import { check, libc, SystemError } from '../core/libc.ts';

const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const cUmount = libc.func('int umount2(const char *target, int flags)');
const cMkfifo = libc.func('int mkfifo(const char *path, unsigned int mode)');
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
  const error = new SystemError(`umount ${target}`);
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
