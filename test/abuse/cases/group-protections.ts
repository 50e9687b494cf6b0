/** The items of the profile that a cgroup holds, and the limits of the user namespace. What the kernel was told is read from
 *  the host's side where there is nothing to try: a machine without swap shows no difference, and a weight only one when the
 *  machine is busy. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  all,
  asRoot,
  at,
  both,
  is,
  type Protection,
  stopped,
  withAllDevices,
  withCapability,
  withoutHooks,
  withoutSeccomp,
} from './protection.ts';

/** The text of the first of these files that there is, `<controller>/<file>` on v1, `<file>` on v2. */
const ofGroup =
  (...files: readonly string[]) =>
  (pid: number): unknown => {
    const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
    for (const file of files) {
      const controller = file.includes('/') ? file.split('/')[0] : '';
      const group = groups
        .map((line) => line.split(':'))
        .find(([, names]) => names?.split(',').includes(controller ?? ''));
      const [, , path] = group ?? [];
      if (path === undefined) continue;
      try {
        return readFileSync(
          join('/sys/fs/cgroup', controller ?? '', path, file.split('/').at(-1) ?? ''),
          'utf8',
        ).trim();
      } catch {
        continue; // A hybrid machine has a v2 tree without controllers; some kernels do not count swap.
      }
    }
    return 'not there';
  };

export const GROUP_PROTECTIONS: readonly Protection[] = [
  {
    name: 'pids limit',
    remove: ({ linux }) => delete linux.resources.pids,
    probe: 'limits/sleepers',
    args: () => ({ count: 150 }),
    held: stopped,
  },
  {
    name: 'memory limit',
    remove: ({ linux }) => delete linux.resources.memory,
    probe: 'limits/allocate',
    args: () => ({ mib: 300 }),
    held: (value) => value === undefined, // It was killed.
    open: (value) => value === 300,
  },
  {
    name: 'no swap',
    remove: ({ linux }) => delete linux.resources.memory?.swap,
    outside: ofGroup('memory/memory.memsw.limit_in_bytes', 'memory.swap.max'),
    probe: '',
    held: is(String(2 ** 28), '0', 'not there'),
    open: (value) => value === 'not there' || value === 'max' || Number(value) > 2 ** 40,
  },
  {
    name: 'a small share of the cpu',
    remove: ({ linux }) => delete linux.resources.cpu,
    outside: ofGroup('cpu/cpu.shares', 'cpu.weight'),
    probe: '',
    held: (value) => Number(value) <= 128,
    open: is('1024', '100'),
  },
  {
    name: 'device cgroup',
    remove: withAllDevices,
    probe: 'files/openDevice',
    args: () => ({ path: '/fuse' }),
    held: is('EPERM'),
  },
  {
    name: 'limit of inotify instances',
    remove: withoutHooks,
    probe: 'limits/inotify',
    held: (value) => at(value, 'opened') === 16,
    open: (value) => Number(at(value, 'opened')) > 16,
  },
  {
    name: 'limit of inotify watches',
    remove: withoutHooks,
    probe: 'limits/inotifyWatches',
    held: (value) => at(value, 'watches') === 8192,
    open: (value) => Number(at(value, 'watches')) > 8192,
  },
  {
    name: 'limits of namespaces, of each kind',
    also: both(withoutSeccomp, asRoot, withCapability('CAP_SYS_ADMIN')),
    remove: withoutHooks,
    probe: 'kernel/cloneEach',
    held: all('ENOSPC'),
    open: all('ok'),
  },
];
