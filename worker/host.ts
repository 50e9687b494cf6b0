/** What this host can do: which OCI runtime to use and what is missing. Decided once at start, said plainly. */

import { spawnSync } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FnError } from '../core/errors.ts';
import type { Config } from '../core/config.ts';
import type { Log } from '../core/log.ts';
import { findProgram } from '../core/processes.ts';
import { INOTIFY } from './sandbox/profile.ts';
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

/** inotify is counted for the user namespace and for whoever made it, root, who has 128 instances by default: eight sandboxes
 *  with 16 each would leave none to the machine's own services. So root may have what all sandboxes may, and what it had
 *  before: raised, never lowered. The memory of it is on each sandbox's account. @param root where the settings are. */
export function raiseInotifyLimits(sandboxes: number, log: Log, root = '/proc/sys/fs/inotify'): void {
  for (const [name, each, before] of INOTIFY_LIMITS) {
    const path = join(root, name);
    try {
      const found = Number(readFileSync(path, 'utf8'));
      const wanted = sandboxes * each + before;
      if (found >= wanted) continue;
      writeFileSync(path, String(wanted));
      log.info({ setting: `fs.inotify.${name}`, from: found, to: wanted }, 'limit of the machine raised');
    } catch (error) {
      const hint = `sandboxes together can use up what the machine's root may have: raise fs.inotify.${name} by sysctl`;
      log.warn({ err: error, hint }, 'limit of the machine not raised');
    }
  }
}

/** Setting, what one sandbox may have, what root may by default. */
const INOTIFY_LIMITS = [
  ['max_user_instances', INOTIFY.instances, 128],
  ['max_user_watches', INOTIFY.watches, 65_536],
] as const;

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
