/** A24, A27, A37, A39: what a mount lets through. Most of these need a sandbox from which other protections were taken away, so
 *  that the mount's own option is what is left to hold. */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { attempt } from './attempt.js';
import { NR } from './numbers.js';
import { call, text } from './syscalls.js';

/** Ends with the number of its user; the test brings it. */
const PROGRAM = '/task/setuid-program';
const OTHER_USER = 1000;
const PROC_SUPER_MAGIC = 0x9f_a0;

/** Options of each mount and of the file system on it, as this process sees them. */
export function options() {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const fields = line.split(' ');
      return [fields[4], [...fields[5].split(','), ...fields.at(-1).split(',')]];
    }),
  );
}

/** Leaves a set-user-id program of our own there and runs it as another user: who is it then? */
export function setuidIn({ directory }) {
  const path = join(directory, 'setuid-program');
  copyFileSync(PROGRAM, path);
  try {
    chmodSync(path, 0o4755);
    return userOf(path, { uid: OTHER_USER, gid: OTHER_USER });
  } finally {
    rmSync(path);
  }
}

/** As whom the set-user-id program of the package runs. */
export const setuidInPackage = () => userOf(PROGRAM, {});

/** Makes a node for the kernel's null device there and opens it. */
export function deviceIn({ directory }) {
  const path = join(directory, 'null');
  const made = call(NR.mknod, text(path), 0o020666, (1 << 8) | 3);
  if (made !== 'ok') return `mknod ${made}`;
  try {
    return attempt(() => closeSync(openSync(path, constants.O_RDWR)));
  } finally {
    rmSync(path);
  }
}

/** A script, run from there. */
export function scriptIn({ directory }) {
  const path = join(directory, 'script');
  writeFileSync(path, '#!/sbin/fn-init --version\n');
  try {
    chmodSync(path, 0o755);
    return spawnSync(path).error?.code ?? 'ok';
  } finally {
    rmSync(path);
  }
}

/** Whether a process of another user sees process 1, which is root's. */
export function seenByOthers() {
  const script = 'fs.readdirSync("/proc").includes("1")';
  const { stdout } = spawnSync(process.execPath, ['-p', script], {
    uid: OTHER_USER,
    gid: OTHER_USER,
    encoding: 'utf8',
  });
  return JSON.parse(stdout);
}

/** Whether each name in /proc shows what the kernel put there: a mask is a device or another file system. */
export function masks({ names }) {
  return Object.fromEntries(
    names.split(' ').map((name) => {
      const path = `/proc/${name}`;
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (!stat) return [name, 'not there'];
      const isKernels = !stat.isCharacterDevice() && statfsSync(path).type === PROC_SUPER_MAGIC;
      return [name, isKernels ? 'open' : 'masked'];
    }),
  );
}

export const mountBelow = ({ path }) => call(NR.mount, text('inside'), text(path), text('tmpfs'), 0, 0);

function userOf(path, options) {
  const { status, error } = spawnSync(path, options);
  return error?.code ?? (status === 0 ? 'root' : 'not root');
}
