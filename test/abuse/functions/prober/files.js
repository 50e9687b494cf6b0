/** A18, A24–A26, A32, A37, A39, A56, A57: what there is to read and to write. */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { attempt } from './attempt.js';

const TMPFS_MAGIC = 0x01_02_19_94;

/** Every directory below / in which something can be made, with the file system it is on. */
export function writableDirectories() {
  return directoriesBelow('/', ['/proc', '/sys'])
    .filter((path) => canMakeIn(path))
    .map((path) => ({ path, type: statfsSync(path).type === TMPFS_MAGIC ? 'tmpfs' : 'other' }));
}

/** Every file outside of /proc/<pid> and the writable directories that opens for writing; devices are no files. */
export function writableFiles() {
  const files = directoriesBelow('/', ['/tmp', '/dev/shm'])
    .flatMap((directory) => list(directory).map(({ name }) => join(directory, name)))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  return files.filter(
    (path) => attempt(() => closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK))) === 'ok',
  );
}

/** One way for each place that matters to the host or to other functions. */
export function overwrite() {
  const paths = [
    '/etc/passwd',
    '/etc/resolv.conf',
    '/usr/local/bin/node',
    '/sbin/fn-init',
    '/opt/fn/bootstrap.mjs',
    '/task/index.js',
    '/proc/self/exe',
    '/proc/1/exe',
    '/proc/sys/kernel/core_pattern',
    '/proc/sys/kernel/modprobe',
    '/proc/sys/vm/overcommit_memory',
    '/proc/sysrq-trigger',
  ];
  return Object.fromEntries(paths.map((path) => [path, attempt(() => closeSync(openSync(path, 'r+')))]));
}

export function kernelTrees() {
  return Object.fromEntries(['/sys', '/sys/fs/cgroup', '/sys/kernel'].map((path) => [path, list(path).length]));
}

/** Files of /proc that tell of the host and are masked: what can be read of each. */
export function maskedFiles() {
  const names = [
    'kcore',
    'keys',
    'timer_list',
    'kallsyms',
    'modules',
    'interrupts',
    'diskstats',
    'partitions',
    'config.gz',
  ];
  return Object.fromEntries(names.map((name) => [name, sizeOf(`/proc/${name}`)]));
}

/** Open descriptors of each kind. One that is a file or a directory would lead to the outside. */
export function descriptors() {
  const kinds = readdirSync('/proc/self/fd').map((fd) => kindOf(Number(fd)));
  return Object.fromEntries(
    ['directory', 'file', 'block', 'gone'].map((kind) => [kind, kinds.filter((one) => one === kind).length]),
  );
}

/** Set-user-id files, wherever they are. */
export function setuidFiles() {
  return directoriesBelow('/', ['/proc']).flatMap((directory) =>
    list(directory)
      .map(({ name }) => join(directory, name))
      .filter((path) => (lstatSync(path).mode & 0o6000) !== 0 && !lstatSync(path).isDirectory()),
  );
}

/** Links in /proc/<pid> that lead out of the root: the directories of other processes, as seen from here. */
export function rootOfInit() {
  return { entries: readdirSync('/proc/1/root').sort(), same: statSync('/proc/1/root').ino === statSync('/').ino };
}

function directoriesBelow(root, skip) {
  if (skip.includes(root)) return [];
  // /proc/<pid> holds processes; of the rest of /proc nothing is left out.
  const inner = list(root).filter((entry) => entry.isDirectory() && !(root === '/proc' && /^\d/.test(entry.name)));
  return [root, ...inner.flatMap(({ name }) => directoriesBelow(join(root, name), skip))];
}

function list(path) {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return [];
  }
}

function canMakeIn(directory) {
  const path = join(directory, `probe-${process.pid}`);
  return attempt(() => mkdirSync(path)) === 'ok' && attempt(() => rmdirSync(path)) === 'ok';
}

function sizeOf(path) {
  try {
    const fd = openSync(path, 'r');
    try {
      return readFileSync(fd).length;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return error.code;
  }
}

function kindOf(fd) {
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) return 'directory';
    if (stat.isBlockDevice()) return 'block';
    return stat.isFile() ? 'file' : 'other';
  } catch {
    return 'gone'; // The one that read the directory.
  }
}

/** Makes a file and removes it. */
export const make = ({ path }) =>
  attempt(() => {
    closeSync(openSync(path, 'wx'));
    rmSync(path);
  });

export const read = ({ path }) => attempt(() => readFileSync(path));
export const openForWriting = ({ path }) => attempt(() => closeSync(openSync(path, constants.O_WRONLY)));
export const openDevice = ({ path }) => attempt(() => closeSync(openSync(path, constants.O_RDWR)));

/** A copy of the init, run from there. */
export function execute({ directory }) {
  const path = join(directory, 'program');
  copyFileSync('/sbin/fn-init', path);
  chmodSync(path, 0o755);
  try {
    return spawnSync(path, ['--version']).error?.code ?? 'ok';
  } finally {
    rmSync(path);
  }
}

/** Who a set-user-id program of root's becomes. */
export function setuidProgram({ path }) {
  const { stdout } = spawnSync(path, ['--', process.execPath, '-p', 'process.geteuid()']);
  return Number(stdout);
}
