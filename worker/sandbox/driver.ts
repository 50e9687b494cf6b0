/** Starts a container with an OCI runtime. crun and runc take the same commands; what they do differently is kept here.
 *  The runtime only starts: ending and cleaning up go through the cgroup and our own records, since `delete -f` of either
 *  leaves cgroups behind and a damaged state file makes both blind to a container that still runs. */

import { spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import type { Millis } from '../../core/units.ts';

export type DriverName = 'crun' | 'runc';

export interface StartOptions {
  readonly id: string;
  /** Directory with config.json. */
  readonly bundle: string;
  /** Becomes standard output and error. */
  readonly logFd: number;
  /** Becomes descriptor 3. */
  readonly listenFd: number;
  readonly signal?: AbortSignal;
}

export interface Driver {
  readonly name: DriverName;
  /** Resolves with the host pid of the sandbox's init once it runs. */
  start(options: StartOptions): Promise<number>;
  /** Removes what the runtime keeps of a container that has ended. */
  forget(id: string, cgroupsPath: string): Promise<void>;
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
    async start({ id, bundle, logFd, listenFd, signal }) {
      await mkdir(root, { recursive: true, mode: 0o700 });
      const pidFile = join(bundle, 'pid');
      const args = [
        '--root',
        root,
        'run',
        '--detach',
        '--preserve-fds',
        '1',
        '--bundle',
        bundle,
        '--pid-file',
        pidFile,
        id,
      ];
      const output = await run(
        binary,
        args,
        [logFd, listenFd],
        AbortSignal.any([AbortSignal.timeout(START_WITHIN), ...(signal ? [signal] : [])]),
      );
      const pid = Number(await readFile(pidFile, 'utf8').catch(() => '0'));
      if (!pid) throw new FnError('internal', `${name} started nothing: ${output || 'it said nothing'}`);
      return pid;
    },
    async forget(id, cgroupsPath) {
      await rm(join(root, id), { recursive: true, force: true });
      // Synchronous: only this thread, not those of the thread pool, is in the mount namespace where the decoy is.
      if (decoy !== undefined) rmSync(join(decoy, cgroupsPath), { recursive: true, force: true });
    },
  };
}

export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

/** Runs the runtime. Its own messages go to the log descriptor together with the sandbox's output, so a failure is told by
 *  its status; the caller reads the log's tail for the reason. */
function run(
  binary: string,
  args: string[],
  [logFd, listenFd]: [number, number],
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, {
      stdio: ['ignore', logFd, logFd, listenFd],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      signal,
      killSignal: 'SIGKILL',
    });
    child.once('error', (cause) =>
      reject(new FnError('internal', `${binary} could not run: ${cause.message}`, { cause })),
    );
    child.once('exit', (code, killed) =>
      code === 0 ? resolve('') : reject(new FnError('internal', `${binary} failed with ${killed ?? `status ${code}`}`)),
    );
  });
}
