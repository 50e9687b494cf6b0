/** Pressure stall information of a group: since Linux 4.20, only in the v2 tree (on a hybrid host: only if the OCI runtime
 *  made the group there too), and only if the kernel was not booted with psi=0. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pressure, PressureTimes } from './cgroup.ts';
import { codeOf } from './file.ts';

export function readPressure(dir: string): Pressure | undefined {
  try {
    return { cpu: read(dir, 'cpu'), memory: read(dir, 'memory'), io: read(dir, 'io') };
  } catch (error) {
    // EOPNOTSUPP: compiled in but switched off.
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'EOPNOTSUPP') return undefined;
    throw error;
  }
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, then the same for `full` (for cpu since Linux 5.13). */
function read(dir: string, resource: string): PressureTimes {
  const text = readFileSync(join(dir, `${resource}.pressure`), 'latin1');
  const total = (kind: string): number => Number(new RegExp(`^${kind} .*total=(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { some: total('some'), full: total('full') };
}
