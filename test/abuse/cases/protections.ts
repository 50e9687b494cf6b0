/** Each item of the sandbox profile, with a probe that tells whether it is there: the probe is held back under the profile, and
 *  is not under the profile without that one item. Where two items hold the same thing, both are taken away for one run and
 *  one of them for the other, so that it is always one item that makes the difference. */

import {
  asRoot,
  at,
  is,
  isOk,
  limit,
  namespace,
  type Protection,
  stopped,
  withCapability,
  withoutNamespace,
  withoutOption,
} from './protection.ts';

export const PROTECTIONS: readonly Protection[] = [
  {
    name: 'seccomp',
    remove: ({ linux }) => delete linux.seccomp,
    probe: 'kernel/askForKeyring',
    held: is('EPERM'),
    open: isOk,
  },
  {
    name: 'seccomp: one architecture',
    remove: ({ linux }) => delete linux.seccomp,
    probe: 'kernel/otherDoors',
    held: (value) => String(value) === 'SIGSYS,SIGSYS',
    open: (value) => String(value).startsWith('lived'),
  },
  {
    name: 'no_new_privs',
    // runc installs the filter first where no_new_privs does not allow it later, and cannot change users after that.
    also: ({ linux }) => delete linux.seccomp,
    remove: ({ process }) => {
      process.noNewPrivileges = false;
    },
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
    remove: (profile) => {
      withoutNamespace('user')(profile);
      delete profile.linux.uidMappings;
      delete profile.linux.gidMappings;
      delete profile.hooks; // Limits it.
    },
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
  {
    name: 'masked paths',
    remove: ({ linux }) => {
      linux.maskedPaths = [];
    },
    probe: 'files/maskedFiles',
    held: (value) => Object.values(Object(value) as object).every((size) => typeof size === 'string' || size === 0),
  },
  {
    name: 'read-only paths',
    also: (profile) => {
      asRoot(profile);
      withCapability('CAP_NET_ADMIN')(profile);
    },
    remove: ({ linux }) => {
      linux.readonlyPaths = [];
    },
    probe: 'files/openForWriting',
    args: () => ({ path: '/proc/sys/net/ipv4/ip_forward' }),
    held: is('EROFS'),
    open: isOk,
  },
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
    name: 'noexec on /dev/shm',
    remove: withoutOption('/dev/shm', /^noexec$/),
    probe: 'files/execute',
    args: () => ({ directory: '/dev/shm' }),
    held: is('EACCES'),
    open: isOk,
  },
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
    name: 'device cgroup',
    remove: ({ linux }) => {
      linux.resources.devices = [{ allow: true, access: 'rwm' }];
    },
    probe: 'files/openDevice',
    args: () => ({ path: '/fuse' }),
    held: is('EPERM'),
  },
  {
    name: 'limits of the user namespace',
    remove: (profile) => delete profile.hooks,
    probe: 'limits/inotify',
    held: stopped,
    open: (value) => Number(at(value, 'opened')) > 16,
  },
  {
    name: 'pid namespace',
    remove: (profile) => {
      withoutNamespace('pid')(profile);
      // Only who owns the pid namespace may mount its /proc.
      const proc = { destination: '/proc', type: 'bind', source: '/proc', options: ['rbind'] };
      profile.mounts = profile.mounts.map((mount) => (mount.destination === '/proc' ? proc : mount));
      profile.linux.maskedPaths = [];
      profile.linux.readonlyPaths = [];
    },
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
