/** Starts a container with an OCI runtime. crun and runc take the same commands; what they do differently is kept here.
 *  The runtime only starts: ending and cleaning up go through the cgroup and our own records, since `delete -f` of either
 *  leaves cgroups behind and a damaged state file makes both blind to a container that still runs. */

import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import { findProgram } from '../../core/processes.ts';
import type { Millis } from '../../core/units.ts';
import { runProgram } from '../program.ts';

export type DriverName = 'crun' | 'runc';

export interface StartOptions {
  readonly id: string;
  /** Directory with config.json. */
  readonly bundle: string;
  /** Becomes standard output and error. */
  readonly logFd: number;
  /** Becomes descriptor 3. */
  readonly listenFd: number;
}

export interface Driver {
  readonly name: DriverName;
  /** Resolves with the host pid of the sandbox's init once it runs. */
  start(options: StartOptions): Promise<number>;
  /** Removes what the runtime keeps of a container that has ended. */
  forget(id: string, cgroupsPath: string): void;
}

/** A runtime that hangs must not hang us; 36 ms is its usual time. */
const START_WITHIN: Millis = 20_000;

/** @param decoy where hideHybridCgroup2 put its tmpfs. */
export function createDriver(name: DriverName, stateDirectory: string, decoy?: string): Driver {
  const binary = findProgram(name);
  if (!binary) {
    throw new FnError('machine.unsupported', `the OCI runtime ${name} is not installed`, {
      hint: `Install it: apt-get install ${name} (Fedora, Arch, Alpine: the package has the same name).`,
    });
  }
  const root = join(stateDirectory, name);
  return {
    name,
    async start({ id, bundle, logFd, listenFd }) {
      mkdirSync(root, { recursive: true, mode: 0o700 });
      const pidFile = join(bundle, 'pid');
      const args = ['run', '--detach', '--preserve-fds', '1', '--bundle', bundle, '--pid-file', pidFile, id];
      const status = await runProgram(binary, ['--root', root, ...args], {
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
        fds: [logFd, logFd, listenFd],
        within: START_WITHIN,
      });
      // What it says goes to the log together with the sandbox's output; the caller reads it there.
      if (status === 'unknown' || status.exitCode !== 0) {
        const how =
          status === 'unknown' ? 'unknown status' : `status ${status.exitCode ?? `of signal ${status.signal}`}`;
        throw new FnError('internal', `${name} failed with ${how}`);
      }
      const pid = readPid(pidFile);
      if (!pid) throw new FnError('internal', `${name} started nothing`);
      return pid;
    },
    forget(id, cgroupsPath) {
      rmSync(join(root, id), { recursive: true, force: true });
      // Only this thread, not those of the thread pool, is in the mount namespace where the decoy is.
      if (decoy !== undefined) rmSync(join(decoy, cgroupsPath), { recursive: true, force: true });
    },
  };
}

function readPid(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return 0; // There is none.
  }
}
