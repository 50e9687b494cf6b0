/** A5–A9, A13, A19–A23, A58: takes as much as it can get of one thing, says how much that was, and lives on. */

import { fork, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { attempt } from './attempt.js';
import { NR } from './numbers.js';
import { call, CHILD, fork as forkCode, koffi, outcome, raw, runCode, text, THREAD } from './syscalls.js';

const MIB = 2 ** 20;
const RUN = fileURLToPath(new URL('run.js', import.meta.url));

/** Writes files of 8 MiB until one does not fit. */
export function fill({ path }) {
  const directory = `${path}/fill`;
  mkdirSync(directory);
  const block = Buffer.alloc(MIB, 1);
  let written = 0;
  try {
    for (let n = 0; n < 1000; n++) {
      const fd = openSync(`${directory}/${n}`, 'w');
      try {
        for (let part = 0; part < 8; part++) {
          let left = block.length;
          while (left > 0) left -= writeSync(fd, block, 0, left);
          written += block.length;
        }
      } finally {
        closeSync(fd);
      }
    }
    return { written, stopped: 'never' };
  } catch (error) {
    return { written, stopped: error.code };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function fillInodes({ path }) {
  const directory = `${path}/inodes`;
  mkdirSync(directory);
  let made = 0;
  try {
    for (; made < 100_000; made++) closeSync(openSync(`${directory}/${made}`, 'w'));
    return { made, stopped: 'never' };
  } catch (error) {
    return { made, stopped: error.code };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function sparseFile() {
  const fd = openSync('/tmp/sparse', 'w');
  try {
    return attempt(() => ftruncateSync(fd, 2 ** 40));
  } finally {
    closeSync(fd);
    rmSync('/tmp/sparse');
  }
}

export function openFiles({ count }) {
  return exhaust(Number(count), () => openSync('/task/index.js', 'r'));
}

export const inotify = () => exhaust(1000, () => number(raw(NR.inotify_init1, 0)));
const kept = [];

/** Opens as many inotify instances as there are to have, and keeps them. @param ms how long to be busy afterwards. */
export async function keepInotify({ ms }) {
  try {
    while (kept.length < 1000) kept.push(number(raw(NR.inotify_init1, 0)));
  } catch {
    // No more.
  }
  await sleep(Number(ms));
  return kept.length;
}

/** Watches of the same 600 files in 15 instances, each of which counts. */
export function inotifyWatches() {
  const [INSTANCES, FILES, IN_MODIFY] = [15, 600, 2];
  const directory = '/tmp/watched';
  mkdirSync(directory);
  const names = Array.from({ length: FILES }, (_, n) => `${directory}/${n}`);
  const fds = [];
  let watches = 0;
  try {
    for (const name of names) closeSync(openSync(name, 'w'));
    const paths = names.map((name) => text(name));
    while (fds.length < INSTANCES) {
      const fd = number(raw(NR.inotify_init1, 0));
      fds.push(fd);
      for (const path of paths) {
        number(raw(NR.inotify_add_watch, fd, path, IN_MODIFY));
        watches++;
      }
    }
    return { watches, stopped: 'never' };
  } catch (error) {
    return { watches, stopped: error.code };
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}

export const eventfds = () => exhaust(100_000, () => number(raw(NR.eventfd2, 0, 0)));
export const epolls = () => exhaust(100_000, () => number(raw(NR.epoll_create1, 0)));
export const memfds = () => exhaust(100_000, () => number(raw(NR.memfd_create, text('m'), 0)));

/** Pipes of 1 MiB until the user's share of pipe pages is used up; all of them are this sandbox's user's. */
export function pipePages() {
  const F_SETPIPE_SZ = 1031;
  const ends = [];
  try {
    let grown = 0;
    const pair = Buffer.alloc(8);
    for (let n = 0; n < 400; n++) {
      if (call(NR.pipe2, koffi.address(pair), 0) !== 'ok') break;
      ends.push(pair.readInt32LE(0), pair.readInt32LE(4));
      if (raw(NR.fcntl, pair.readInt32LE(0), F_SETPIPE_SZ, MIB) > 0) grown++;
    }
    return { pipes: ends.length / 2, grown };
  } finally {
    for (const fd of ends) closeSync(fd);
  }
}

/** Orphans that end at once: whoever is process 1 must collect them. */
export async function zombies() {
  const middle = fork(RUN, ['limits', 'orphans']);
  await new Promise((resolve) => middle.once('exit', resolve));
  for (let waited = 0; waited < 3000 && zombieCount() > 0; waited += 20) await sleep(20);
  return zombieCount();
}

function zombieCount() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      return stat[stat.lastIndexOf(')') + 2] === 'Z';
    } catch {
      return false; // It went between the two looks.
    }
  }).length;
}

export function orphans() {
  for (let n = 0; n < 5; n++) spawn(process.execPath, ['--version'], { detached: true, stdio: 'ignore' }).unref();
}

export function coreDump() {
  const { signal } = spawnSync(process.execPath, ['-e', 'process.abort()'], { cwd: '/tmp' });
  return { signal, cores: readdirSync('/tmp').filter((name) => name.startsWith('core')) };
}

/** Names that do not exist, each of which the kernel remembers. */
export function negativeDentries({ count }) {
  for (let n = 0; n < Number(count); n++) statSync(`/task/none-${n}`, { throwIfNoEntry: false });
  return 'done';
}

export function readEverything() {
  const buffer = Buffer.alloc(MIB);
  const fd = openSync('/usr/local/bin/node', 'r');
  try {
    let bytes = 0;
    for (let read = 1; read > 0; bytes += read) read = readSync(fd, buffer, 0, MIB, bytes);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

export function children({ count }) {
  const started = [];
  try {
    for (let n = 0; n < Number(count); n++) {
      const child = spawn('/usr/local/bin/node', ['-e', 'setTimeout(() => {}, 60_000)'], { stdio: 'ignore' });
      child.on('error', () => {});
      if (child.pid === undefined) return { started: started.length, stopped: 'refused' };
      started.push(child);
    }
    return { started: started.length, stopped: 'never' };
  } finally {
    for (const child of started) child.kill('SIGKILL');
  }
}

/** Children or threads that sleep: one task each. */
export function sleepers({ count, as = 'children' }) {
  const poll = [0xb8, 7, 0, 0, 0, 0x31, 0xff, 0x31, 0xf6, 0x48, 0xc7, 0xc2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x05];
  const code = [...forkCode(as === 'threads' ? THREAD : CHILD), 0x85, 0xc0, 0x75, poll.length, ...poll];
  for (let started = 0; started < Number(count); started++) {
    if (runCode(code) < 0) return { started, stopped: 'refused' };
  }
  return { started: Number(count), stopped: 'never' };
}

export function sizes() {
  const of = ({ bsize, blocks, files }) => ({ bytes: bsize * blocks, inodes: files });
  return { tmp: of(statfsSync('/tmp')), shm: of(statfsSync('/dev/shm')), dev: of(statfsSync('/dev')) };
}

export function limits() {
  const lines = readFileSync('/proc/self/limits', 'utf8').split('\n').slice(1, -1);
  return Object.fromEntries(lines.map((line) => [line.slice(0, 26).trim(), line.slice(26, 68).trim().split(/\s+/)]));
}

export function allocate({ mib }) {
  const kept = Array.from({ length: Number(mib) }, () => Buffer.alloc(MIB, 1));
  return kept.length;
}

function exhaust(count, open) {
  const fds = [];
  try {
    while (fds.length < count) fds.push(open());
    return { opened: fds.length, stopped: 'never' };
  } catch (error) {
    return { opened: fds.length, stopped: error.code };
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function number(result) {
  if (result < 0) throw Object.assign(new Error('refused'), { code: outcome(result) });
  return result;
}
