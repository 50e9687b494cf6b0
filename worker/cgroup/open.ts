/** Chooses the driver for this machine. */

import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { FnError } from '../../core/errors.ts';
import type { CgroupManager } from './cgroup.ts';
import { isDelegated } from './delegation.ts';
import { type CgroupLayout, readLayout } from './layout.ts';
import { CgroupsV1 } from './v1.ts';
import { CgroupsV2 } from './v2.ts';

/** @param platform 8 hex digits, so that platforms on one machine keep apart. */
export function openCgroups(platform: string): CgroupManager {
  const layout = readLayout(readFileSync('/proc/self/mountinfo', 'utf8'), readFileSync('/proc/cgroups', 'utf8'));
  return managerFor(layout, readFileSync('/proc/self/cgroup', 'utf8'), `fn-${platform}`);
}

/** @param self /proc/self/cgroup. */
export function managerFor(layout: CgroupLayout, self: string, name: string): CgroupManager {
  if (layout.kind === 'v2' && layout.v2) {
    const { mount, root } = layout.v2;
    return new CgroupsV2({ mount, own: ownGroup(self, root), name, isDelegated });
  }
  if (layout.kind !== 'none') return new CgroupsV1(layout, name);
  throw new FnError('machine.unsupported', 'no cgroup hierarchy is mounted', {
    hint: 'mount -t cgroup2 none /sys/fs/cgroup',
  });
}

/** The line `0::/system.slice/fn.service`, seen from the mount. Outside of it (`/..`), the mount's root. */
export function ownGroup(self: string, root: string): string {
  const path = /^0::(.*)$/m.exec(self)?.[1] ?? '/';
  const below = relative(root, path);
  return path.startsWith('/..') || below.startsWith('..') ? '/' : `/${below}`;
}
