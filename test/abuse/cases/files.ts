/** A18, A24–A26, A32, A39, A56, A57: what there is to read and to write. One probe each. */

import { expect } from 'vitest';
import type { ProbeCase } from './case.ts';

/** The kernel checks permission first: EROFS only where the sandbox's user might have written. */
const NO = expect.stringMatching(/^(EACCES|EROFS|EPERM|ENOENT|ETXTBSY)$/);

export const FILE_CASES: readonly ProbeCase[] = [
  {
    id: 'A24, A25, A57',
    tried:
      'opens /etc/passwd, node, the init, the bootstrap, its own code, /proc/self/exe, /proc/1/exe, core_pattern, sysrq for writing',
    result: 'EACCES or EROFS; the programs of the host are the same bytes afterwards',
    heldBy: 'read-only root; files of the host’s root, who is nobody inside',
    probe: 'files/overwrite',
    expected: {
      '/etc/passwd': NO,
      '/etc/resolv.conf': NO,
      '/usr/local/bin/node': NO,
      '/sbin/fn-init': NO,
      '/opt/fn/bootstrap.mjs': NO,
      '/task/index.js': NO,
      '/proc/self/exe': NO,
      '/proc/1/exe': NO,
      '/proc/sys/kernel/core_pattern': NO,
      '/proc/sys/kernel/modprobe': NO,
      '/proc/sys/vm/overcommit_memory': NO,
      '/proc/sysrq-trigger': NO,
    },
  },
  {
    id: 'A18',
    tried: 'makes a directory in every directory there is',
    result: 'only /tmp and /dev/shm take it, which are memory',
    heldBy: 'read-only root; nothing of the host is mounted writable',
    probe: 'files/writableDirectories',
    expected: [
      { path: '/dev/shm', type: 'tmpfs' },
      { path: '/tmp', type: 'tmpfs' },
    ],
  },
  {
    id: 'A25, A26',
    tried: 'opens every file of /proc, /sys and the image for writing',
    result: 'none opens',
    heldBy: 'user namespace; read-only and masked paths',
    probe: 'files/writableFiles',
    expected: [],
  },
  {
    id: 'A26, A32',
    tried: 'looks into /sys and its cgroups',
    result: 'empty',
    heldBy: '/sys is not mounted',
    probe: 'files/kernelTrees',
    expected: { '/sys': 0, '/sys/fs/cgroup': 0, '/sys/kernel': 0 },
  },
  {
    id: 'A31',
    tried: 'looks for release_agent and notify_on_release',
    result: 'not there',
    heldBy: '/sys is not mounted',
    probe: 'visibility/search',
    args: { text: 'release_agent' },
    expected: expect.not.arrayContaining([expect.stringMatching(/^\/(sys|dev|tmp|run|etc)/)]),
  },
  {
    id: 'A65',
    tried: 'reads what /proc tells of the host’s kernel and devices',
    result: 'nothing, or not there',
    heldBy: 'masked paths',
    probe: 'files/maskedFiles',
    expected: expect.toSatisfy((sizes: Record<string, unknown>) =>
      Object.values(sizes).every((size) => size === 0 || size === 'ENOENT' || size === 'EACCES'),
    ),
  },
  {
    id: 'A39',
    tried: 'brings a set-user-id file in its package',
    result: 'the bits are gone',
    heldBy: 'the unpacker; nosuid; no_new_privs',
    probe: 'files/setuidFiles',
    expected: [],
  },
  {
    id: 'A43',
    tried: 'looks at the root of process 1',
    result: 'it is its own',
    heldBy: 'mount and pid namespace',
    probe: 'files/rootOfInit',
    expected: expect.objectContaining({ same: true }),
  },
  {
    id: 'A56',
    tried: 'looks for descriptors that were left open',
    result: 'no file, directory or disk among them',
    heldBy: 'every descriptor of the worker closes at exec; only the socket is passed on',
    probe: 'files/descriptors',
    expected: { directory: 0, file: 0, block: 0, gone: 1 },
  },
];
