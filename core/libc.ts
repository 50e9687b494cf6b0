/** Calling the C library directly through FFI, for the few system calls Node has no function for. Linux, any glibc or musl;
 *  the constants its users name are the same on x86-64 and arm64. */

import koffi from 'koffi';
import { getSystemErrorName } from 'node:util';

export const libc = koffi.load(null);

/** A system call that failed; `code` is the errno's name, as on Node's own errors. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;

  constructor(call: string, errno: number = koffi.errno()) {
    const code = getSystemErrorName(-errno);
    super(`${call}: ${code}`);
    this.code = code;
  }
}

/** @throws SystemError when the call's result says that it failed. */
export function check(call: string, result: number): number {
  if (result < 0) throw new SystemError(call);
  return result;
}
