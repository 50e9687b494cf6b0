/** Each item of the sandbox profile, with a probe that tells whether it is there: the probe is held back under the profile, and
 *  is not under the profile without that one item. Where two items hold the same thing, both are taken away for one run and
 *  one of them for the other, so that it is always one item that makes the difference. */

import { GROUP_PROTECTIONS } from './group-protections.ts';
import { makesDevices, MOUNT_PROTECTIONS } from './mount-protections.ts';
import {
  all,
  asRoot,
  at,
  is,
  isOk,
  limit,
  namespace,
  type Protection,
  stopped,
  withCapability,
  withNewPrivileges,
  withoutHooks,
  withoutNamespace,
  withoutOption,
  withoutSeccomp,
  withoutUserNamespace,
} from './protection.ts';

const isEmpty = (value: unknown): boolean => Object.keys(Object(value) as object).length === 0;

/** Where the filter looks at arguments: what would be allowed if it did not. */
const FILTERED = [
  { name: 'kinds of sockets', call: 'socket', probe: 'kernel/otherSockets', held: isEmpty },
  {
    name: 'clone without namespaces',
    call: 'clone',
    also: withoutHooks, // The limits of its user namespace would hold it too.
    probe: 'kernel/cloneEach',
    held: all('EPERM'),
    open: (value: unknown) => at(value, 'user') === 'ok',
  },
  { name: 'no clone3', call: 'clone3', probe: 'kernel/clone3', held: is('ENOSYS') },
  {
    name: 'one personality',
    call: 'personality',
    probe: 'kernel/disableAddressRandomisation',
    held: is('EPERM'),
    open: isOk,
  },
  {
    name: 'no devices by mknod',
    call: 'mknod',
    also: makesDevices,
    probe: 'mounts/deviceIn',
    args: () => ({ directory: '/tmp' }),
    held: is('mknod EPERM'),
    open: is('EACCES'), // Made; /tmp is nodev.
  },
];

export const PROTECTIONS: readonly Protection[] = [
  ...MOUNT_PROTECTIONS,
  ...GROUP_PROTECTIONS,
  {
    name: 'seccomp',
    remove: withoutSeccomp,
    probe: 'kernel/askForKeyring',
    held: is('EPERM'),
    open: isOk,
  },
  {
    name: 'seccomp: one architecture',
    remove: withoutSeccomp,
    probe: 'kernel/otherDoors',
    held: (value) => String(value) === 'SIGSYS,SIGSYS',
    open: (value) => String(value).startsWith('lived'),
  },
  ...FILTERED.map(({ name, call, ...rest }): Protection => ({
    ...rest,
    name: `seccomp: ${name}`,
    remove: ({ linux: { seccomp } }) => {
      if (!seccomp) return;
      const others = seccomp.syscalls.filter(({ names }) => !names.includes(call));
      seccomp.syscalls = [...others, { names: [call], action: 'SCMP_ACT_ALLOW' }];
    },
  })),
  {
    name: 'no_new_privs',
    // runc installs the filter first where no_new_privs does not allow it later, and cannot change users after that.
    also: withoutSeccomp,
    remove: withNewPrivileges,
    probe: 'files/setuidProgram',
    args: () => ({ path: '/usr/local/bin/setuid-init' }),
    held: (value) => value === 1000,
    open: (value) => value === 0,
  },
  {
    name: 'no capabilities',
    remove: withCapability('CAP_NET_BIND_SERVICE'),
    probe: 'visibility/lowPort',
    held: is('EACCES'),
    open: isOk,
  },
  {
    name: 'user namespace',
    remove: withoutUserNamespace,
    probe: 'files/read',
    args: () => ({ path: '/etc/of-host-user-1000' }),
    held: is('EACCES'),
    open: isOk,
  },
  {
    name: 'user 1000',
    remove: asRoot,
    probe: 'files/make',
    args: () => ({ path: '/dev/made' }),
    held: is('EACCES'),
    open: isOk,
  },
  {
    name: 'read-only root',
    remove: ({ root }) => {
      root.readonly = false;
    },
    probe: 'files/make',
    args: () => ({ path: '/open/made' }),
    held: is('EROFS'),
    open: isOk,
  },
  {
    name: 'read-only code',
    remove: withoutOption('/task', /^ro$/),
    probe: 'files/make',
    args: () => ({ path: '/task/made' }),
    held: is('EROFS'),
    open: isOk,
  },
  {
    name: 'RLIMIT_NOFILE',
    remove: ({ process }) => {
      process.rlimits = process.rlimits.filter(({ type }) => type !== 'RLIMIT_NOFILE');
    },
    probe: 'limits/openFiles',
    args: () => ({ count: 1500 }),
    held: stopped,
  },
  {
    name: 'RLIMIT_FSIZE',
    remove: ({ process }) => {
      process.rlimits = process.rlimits.filter(({ type }) => type !== 'RLIMIT_FSIZE');
    },
    probe: 'limits/sparseFile',
    held: is('EFBIG'),
    open: isOk,
  },
  limit('CORE', 'Max core file size', 1),
  limit('MEMLOCK', 'Max locked memory', 65_536),
  limit('MSGQUEUE', 'Max msgqueue size', 0),
  limit('SIGPENDING', 'Max pending signals', 1024),
  ...['/tmp', '/dev/shm', '/dev'].flatMap((path): Protection[] => {
    const key = path.split('/').at(-1) ?? '';
    const most = { tmp: 64 * 2 ** 20, shm: 16 * 2 ** 20, dev: 65_536 }[key] ?? 0;
    return [
      {
        name: `size of ${path}`,
        remove: withoutOption(path, /^size=/),
        probe: 'limits/sizes',
        held: (value) => Number(at(value, key, 'bytes')) <= most,
      },
      {
        name: `inodes of ${path}`,
        remove: withoutOption(path, /^nr_inodes=/),
        probe: 'limits/sizes',
        held: (value) => Number(at(value, key, 'inodes')) <= 4096,
      },
    ];
  }),
  {
    name: 'pid namespace',
    also: (profile) => {
      // Only who owns the pid namespace may mount its /proc.
      const proc = { destination: '/proc', type: 'bind', source: '/proc', options: ['rbind'] };
      profile.mounts = profile.mounts.map((mount) => (mount.destination === '/proc' ? proc : mount));
      profile.linux.maskedPaths = [];
      profile.linux.readonlyPaths = [];
    },
    remove: withoutNamespace('pid'),
    probe: 'visibility/signalHostPid',
    args: ({ hostPid }) => ({ pid: hostPid }),
    held: is('ESRCH'),
    open: is('EPERM'),
  },
  {
    name: 'network namespace',
    remove: withoutNamespace('network'),
    probe: 'visibility/tcp',
    args: ({ port }) => ({ host: '127.0.0.1', port }),
    held: is('ECONNREFUSED'),
    open: isOk,
  },
  namespace('ipc', 'ipc'),
  namespace('cgroup', 'cgroup'),
  namespace('uts', 'uts', (profile) => delete profile.hostname),
  {
    name: 'an init that collects orphans',
    remove: ({ process }) => {
      process.args = process.args.slice(process.args.indexOf('--') + 1);
    },
    probe: 'limits/zombies',
    held: (value) => value === 0,
  },
];
