/** The items of the profile that are about mounts: their options, masks, and what passes between host and sandbox. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount, MS_BIND } from '../../../worker/native.ts';
import {
  all,
  asRoot,
  at,
  both,
  hasOption,
  is,
  isOk,
  type Meanwhile,
  type Profile,
  type Protection,
  type Scene,
  withAllDevices,
  withCapability,
  withNewPrivileges,
  withoutOption,
  withoutSeccomp,
  withoutUserNamespace,
} from './protection.ts';

/** Listed here once more, so that one that is taken off the profile is missed. */
const MASKED =
  'acpi asound interrupts kcore keys latency_stats timer_list timer_stats sched_debug scsi kallsyms kpagecount kpageflags kpagecgroup config.gz modules diskstats partitions pressure';
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** A set-user-id program works unless its mount says otherwise. runc installs the filter first where no_new_privs does not
 *  allow it later, and cannot change users after that. */
const obeysSetuid = both(withoutSeccomp, withNewPrivileges);
/** May make set-user-id files of root's, and run them as somebody else. */
const leavesSetuid = both(obeysSetuid, asRoot, withCapability('CAP_SETUID', 'CAP_SETGID'));
/** The real root may make devices. */
export const makesDevices = both(withoutUserNamespace, asRoot, withCapability('CAP_MKNOD'), withAllDevices);

const noSetuid = (path: string): Protection => ({
  name: `nosuid on ${path}`,
  also: both(leavesSetuid, withoutOption(path, /^noexec$/)),
  remove: withoutOption(path, /^nosuid$/),
  probe: 'mounts/setuidIn',
  args: () => ({ directory: path }),
  held: is('not root'),
  open: is('root'),
});

const noDevices = (path: string): Protection => ({
  name: `nodev on ${path}`,
  also: both(makesDevices, withoutSeccomp),
  remove: withoutOption(path, /^nodev$/),
  probe: 'mounts/deviceIn',
  args: () => ({ directory: path }),
  held: is('EACCES'),
  open: isOk,
});

const noPrograms = (path: string): Protection => ({
  name: `noexec on ${path}`,
  also: asRoot, // /dev is not writable for others.
  remove: withoutOption(path, /^noexec$/),
  probe: 'mounts/scriptIn',
  args: () => ({ directory: path }),
  held: is('EACCES'),
  open: isOk,
});

/** procfs has neither programs nor devices to try it with: what the kernel says the mount is. */
const flagOfProc = (flag: string): Protection => ({
  name: `${flag} on /proc`,
  remove: withoutOption('/proc', /^no/),
  probe: 'mounts/options',
  held: (value) => hasOption(value, '/proc', flag),
});

const withoutReadonlyPaths = ({ linux }: Profile): void => {
  linux.readonlyPaths = [];
};

/** The code comes from a mount of the host's that passes on what is mounted later. */
const codeIsShared = ({ mounts }: Profile, { shared }: Scene): void => {
  for (const one of mounts) if (one.destination === '/task') one.source = shared;
};
const withPropagation =
  (propagation: string) =>
  ({ linux }: Profile): void => {
    linux.rootfsPropagation = propagation;
  };
const withCodePropagation =
  (propagation: string) =>
  ({ mounts }: Profile): void => {
    const task = mounts.find(({ destination }) => destination === '/task');
    if (task) task.options = task.options.map((option) => (option === 'rslave' ? propagation : option));
  };
const mountsLater: Meanwhile = (_pid, { shared, marked }) => mount(marked, join(shared, 'later'), null, MS_BIND);
/** May mount what it likes, in its own namespace. */
const mountsItself = both(withoutSeccomp, withoutUserNamespace, asRoot, withCapability('CAP_SYS_ADMIN'), codeIsShared);
const seenOutside = {
  probe: 'mounts/mountBelow',
  args: () => ({ path: '/task/later' }),
  afterwards: ({ shared }: Scene) => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${shared}/later `),
  held: (value: unknown) => at(value, 'said') === 'ok' && at(value, 'seen') === false,
  open: (value: unknown) => at(value, 'said') === 'ok' && at(value, 'seen') === true,
};

export const MOUNT_PROTECTIONS: readonly Protection[] = [
  ...['/tmp', '/dev/shm', '/dev'].map(noSetuid),
  ...['/tmp', '/dev/shm'].map(noDevices), // /dev is there for devices; the cgroup says which.
  ...['/dev/shm', '/dev'].map(noPrograms),
  ...['nosuid', 'nodev', 'noexec'].map(flagOfProc),
  {
    name: 'nosuid on /task',
    also: obeysSetuid,
    remove: withoutOption('/task', /^nosuid$/),
    probe: 'mounts/setuidInPackage',
    held: is('not root'),
    open: is('root'),
  },
  {
    name: 'nodev on /task',
    remove: withoutOption('/task', /^nodev$/),
    probe: 'files/openDevice',
    args: () => ({ path: '/task/null' }),
    held: is('EACCES'),
    open: isOk,
  },
  {
    name: 'hidepid on /proc',
    also: both(asRoot, withoutSeccomp, withCapability('CAP_SETUID', 'CAP_SETGID')),
    remove: withoutOption('/proc', /^hidepid=/),
    probe: 'mounts/seenByOthers',
    held: (value) => value === false,
    open: (value) => value === true,
  },
  {
    name: 'mode of /dev',
    driver: 'crun', // runc takes the mode of the image's directory.
    remove: withoutOption('/dev', /^mode=/),
    probe: 'files/make',
    args: () => ({ path: '/dev/made' }),
    held: is('EACCES'),
    open: isOk,
  },
  {
    name: 'masked paths',
    remove: ({ linux }) => {
      linux.maskedPaths = [];
    },
    probe: 'mounts/masks',
    args: () => ({ names: MASKED }),
    held: all('masked'),
    open: all('open'),
  },
  {
    name: 'read-only paths',
    also: both(asRoot, withCapability('CAP_NET_ADMIN')),
    remove: withoutReadonlyPaths,
    probe: 'files/openForWriting',
    args: () => ({ path: '/proc/sys/net/ipv4/ip_forward' }),
    held: is('EROFS'),
    open: isOk,
  },
  ...READ_ONLY.map((path): Protection => ({
    name: `read-only ${path}`,
    remove: withoutReadonlyPaths,
    probe: 'mounts/options',
    // A kernel that does not have it has nothing to write there.
    held: (value) => !existsSync(path) || hasOption(value, path, 'ro'),
    open: (value) => at(value, path) === undefined,
  })),
  {
    name: 'what the host mounts later appears',
    driver: 'crun', // This is runc's default.
    also: codeIsShared,
    remove: ({ linux }) => delete linux.rootfsPropagation,
    meanwhile: mountsLater,
    probe: 'files/read',
    args: () => ({ path: '/task/later/marker' }),
    held: isOk,
    open: is('ENOENT'),
  },
  {
    name: 'what it mounts itself stays inside, since its code is a slave',
    also: both(mountsItself, withPropagation('rshared')),
    remove: withCodePropagation('rshared'),
    ...seenOutside,
  },
  {
    name: 'what it mounts itself stays inside, since its root is a slave',
    also: both(mountsItself, withCodePropagation('rshared')),
    remove: withPropagation('rshared'),
    ...seenOutside,
  },
];
