/** System calls of x86-64 by number, straight from JavaScript: what Node has no function for. */

import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';

export const koffi = createRequire(import.meta.url)('./koffi.node');
const libc = koffi.load(null);

const syscall = libc.func('long syscall(long number, long a, long b, long c, long d, long e, long f)');
/** Copies the text where it stays, and returns its address. */
export const text = libc.func('intptr_t strdup(const char *text)');

/** 'ok', or the errno's name. */
export function call(number, ...args) {
  return outcome(raw(number, ...args));
}

/** The result itself, -1 for an error. */
export function raw(number, ...args) {
  return syscall(number, ...args, ...Array(6 - args.length).fill(0));
}

export function outcome(result) {
  return result < 0 ? getSystemErrorName(-koffi.errno()) : 'ok';
}

const RETURNS_INT = koffi.proto('int runCode()');
const mmap = libc.func('void *mmap(intptr_t at, size_t size, int access, int flags, int fd, long offset)');

/** Machine code of x86-64, made a function with a ret. */
export function runCode(bytes) {
  const [READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS] = [7, 0x22];
  const code = mmap(0, 4096, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS, -1, 0);
  koffi.encode(code, koffi.array('uint8_t', bytes.length + 1), [...bytes, 0xc3]);
  return koffi.call(code, RETURNS_INT);
}

/** Flags of clone: a child that is told about when it ends, and a thread of this process. */
export const CHILD = 17;
export const THREAD = 0x1_0f_00; // VM, FS, FILES, SIGHAND, THREAD

/** Machine code that forks by clone, since fork itself is not allowed: the child's pid, or 0, is in eax. A thread has its
 *  parent's stack, and must not touch it. */
export function fork(flags = CHILD) {
  const clone = [0xb8, 56, 0, 0, 0];
  const what = [0xbf, ...[0, 8, 16, 24].map((bits) => (flags >>> bits) & 0xff)];
  const zeros = [0x31, 0xf6, 0x31, 0xd2, 0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0]; // esi, edx, r10, r8
  return [...clone, ...what, ...zeros, 0x0f, 0x05];
}
