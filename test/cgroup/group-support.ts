/** Groups and processes in them for the cases: made, used, killed, removed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Cgroup, CgroupManager, Limits } from '../../worker/cgroup/cgroup.ts';

export const MIB = 2 ** 20;
const GENEROUS: Limits = { memory: 256 * MIB, cpu: 2000, pids: 100 };

let made = 0;

export async function withGroup(
  manager: CgroupManager,
  limits: Partial<Limits>,
  use: (group: Cgroup) => Promise<void>,
): Promise<void> {
  using group = manager.open(`case-${++made}`);
  try {
    group.create();
    group.setLimits({ ...GENEROUS, ...limits });
    await use(group);
  } finally {
    await group.kill();
    await group.remove();
  }
}

export interface Launched {
  readonly pid: number;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Runs a shell script that is in the group from its first command on. */
export function launch(group: Cgroup, script: string): Launched {
  const child = spawn('sh', ['-c', `read -r go; ${script}`], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(child, 'exit').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
  }));
  child.stdin.on('error', () => {}); // It may end without reading.
  if (child.pid === undefined) throw new Error('sh could not be started');
  group.add(child.pid);
  child.stdin.write('go\n');
  return { pid: child.pid, ended };
}
