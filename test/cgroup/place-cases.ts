/** Where the v2 driver puts its parent group: in a group that systemd delegated, in a container's cgroup namespace, at the
 *  root. Only inside the VM, whose tree is ours to rearrange: each case starts a process in the right place, which prepares
 *  and says what it found. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import koffi from 'koffi';
import { control } from '../../worker/cgroup/file.ts';
import { removeTree } from '../../worker/cgroup/tree.ts';
import type { CgroupCase } from './cases.ts';

const ROOT = '/sys/fs/cgroup';
/** util-linux's: busybox has an unshare without cgroup namespaces. */
export const UNSHARE = '/usr/bin/unshare';
const ENTER_CONTAINER = `${UNSHARE} -C -m sh -c 'umount ${ROOT} && mount -t cgroup2 none ${ROOT} && exec "$@"' sh`;

export const placeCases: readonly CgroupCase[] = [
  {
    name: 'v2: in a delegated group, makes its parent there and moves the processes to a leaf, also after a restart',
    async run() {
      const service = makeGroup('system.slice', 'fn.service');
      delegate(service);
      const found = await prepareIn(service, '');
      assert.equal(found.ociPath, '/system.slice/fn.service/fn-0000beef/x');
      assert.equal(found.own, '/system.slice/fn.service/fn-platform');
      assert.equal(found.again, found.ociPath);
      assert.deepEqual(found.enabled, ['cpu', 'cpuset', 'io', 'memory', 'pids']);
      await removeTree(`${ROOT}/system.slice`);
    },
  },
  {
    name: 'v2: in a group that is not delegated, makes its parent at the root and moves nothing',
    async run() {
      const found = await prepareIn(makeGroup('user.slice', 'session-1.scope'), '');
      assert.equal(found.ociPath, '/fn-0000beef/x');
      assert.equal(found.own, '/user.slice/session-1.scope');
      await removeTree(`${ROOT}/user.slice`);
    },
  },
  {
    name: "v2: in a container's cgroup namespace, treats its root as delegated",
    async run() {
      const found = await prepareIn(makeGroup('docker', 'c0ffee'), ENTER_CONTAINER);
      assert.equal(found.ociPath, '/fn-0000beef/x');
      assert.equal(found.own, '/fn-platform');
      assert.deepEqual(found.enabled, ['cpu', 'cpuset', 'io', 'memory', 'pids']);
      await removeTree(`${ROOT}/docker`);
    },
  },
  {
    name: 'v2: says what to do when the group above passes no controllers on',
    async run() {
      const bare = `${ROOT}/bare`;
      mkdirSync(`${bare}/c0ffee`, { recursive: true });
      const found = await prepareIn(`${bare}/c0ffee`, ENTER_CONTAINER);
      assert.match(found.error ?? '', /cpu, memory, pids are not available/);
      await removeTree(bare);
      await assert.rejects(rmdir(bare), { code: 'ENOENT' });
    },
  },
];

interface Found {
  readonly ociPath?: string;
  readonly own?: string;
  readonly again?: string;
  readonly enabled?: readonly string[];
  readonly error?: string;
}

/** Runs prepare-main.ts in the group. @param enter a shell prefix that takes the rest as its command. */
async function prepareIn(group: string, enter: string): Promise<Found> {
  const main = `${import.meta.dirname}/prepare-main.ts`;
  const script = `echo $$ > ${group}/cgroup.procs; exec ${enter} ${process.execPath} ${main}`;
  const { stdout } = await promisify(execFile)('sh', ['-c', script], { timeout: 20_000 });
  return JSON.parse(stdout) as Found;
}

function makeGroup(slice: string, name: string): string {
  const dir = `${ROOT}/${slice}/${name}`;
  mkdirSync(dir, { recursive: true });
  const controllers = readFileSync(`${ROOT}/cgroup.subtree_control`, 'latin1').trim().split(' ');
  for (const each of controllers) control(`${ROOT}/${slice}/cgroup.subtree_control`, `+${each}`);
  return dir;
}

/** As systemd marks a group with Delegate=yes. */
function delegate(dir: string): void {
  const setxattr = koffi
    .load(null)
    .func('int setxattr(const char *path, const char *name, const char *value, size_t size, int flags)');
  assert.equal(setxattr(dir, 'trusted.delegate', '1', 1, 0), 0);
}
