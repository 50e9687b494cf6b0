/** What this host can do: which OCI runtime to use and what is missing. Decided once at start, said plainly. */

import { spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { FnError } from '../core/errors.ts';
import type { Config } from '../core/config.ts';
import { findProgram } from '../core/processes.ts';
import { mount, MS_PRIVATE, MS_REC, unmount, unshareMounts } from './native.ts';
import type { DriverName } from './sandbox/driver.ts';

export function requireRoot(): void {
  if (process.getuid?.() !== 0) {
    throw new FnError('machine.unsupported', 'the worker must run as root to make containers', {
      hint: 'Start it with sudo: "sudo npm start".',
    });
  }
}

/** crun starts a container in a third of runc's time, so it is the choice where both exist. */
export function chooseDriver(config: Config): DriverName {
  if (config.driver === 'crun' || config.driver === 'runc') return config.driver;
  const found = (['crun', 'runc'] as const).find((name) => findProgram(name));
  if (found) return found;
  throw new FnError('machine.unsupported', 'neither crun nor runc is installed', {
    hint: 'Install one: apt-get install crun (Fedora, Arch, Alpine: the package has the same name).',
  });
}

/** The cgroup2 mount beside a v1 layout, where there is one. */
export function hybridCgroup2(mountinfo: string): string | undefined {
  const mounts = mountinfo.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ');
    const target = before?.split(' ')[4];
    return target && after ? [{ target, type: after.split(' ')[0] }] : [];
  });
  if (!mounts.some(({ type }) => type === 'cgroup')) return undefined;
  return mounts.find(({ type }) => type === 'cgroup2')?.target;
}

/** crun up to 1.8 refuses a host with cgroup2 mounted beside v1. In a mount namespace of our own, inherited by every child
 *  of this thread, that mount is hidden. A private tmpfs takes its place: without it crun drops a directory for each
 *  container into the tmpfs below and never removes it. Call it before anything looks for cgroups. */
export function hideHybridCgroup2(): Decoy | undefined {
  const path = hybridCgroup2(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (!path) return undefined;
  const outside = openSync('/proc/self/ns/mnt', 'r');
  unshareMounts();
  mount('none', '/sys/fs/cgroup', null, MS_REC | MS_PRIVATE);
  unmount(path);
  mount('none', path, 'tmpfs', 0, 'size=1m');
  return { path, unmountOutside: (target) => unmountIn(outside, target) };
}

/** On a hybrid host under crun: where the tmpfs is, and how to undo a mount that was made before it. */
export interface Decoy {
  readonly path: string;
  readonly unmountOutside: (target: string) => void;
}

/** A mount point of the host's own namespace can only be unmounted from there. */
function unmountIn(namespace: number, target: string): void {
  spawnSync('nsenter', ['--mount=/proc/self/fd/3', 'umount', '--lazy', target], {
    stdio: ['ignore', 'ignore', 'ignore', namespace],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    timeout: 5000,
  });
}
