/** A27–A31, A33–A38, A40, A41: what the kernel offers to whoever asks. */

import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { ALLOWED_NEVER, NR } from './numbers.js';
import { call, fork, koffi, raw, runCode, text } from './syscalls.js';

const MS_REMOUNT_BIND = 32 | 4096;
const CLONE_NEW = {
  cgroup: 0x02_00_00_00,
  uts: 0x04_00_00_00,
  ipc: 0x08_00_00_00,
  user: 0x10_00_00_00,
  pid: 0x20_00_00_00,
  net: 0x40_00_00_00,
  mount: 0x00_02_00_00,
};
const SIGCHLD = 17;
/** Machine code: exit_group(42). */
const EXIT = [0xb8, 231, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05];

/** Of all calls that are not on the list, those that answered anything but EPERM. */
export function allOutsideTheList() {
  const outcomes = Object.entries(ALLOWED_NEVER).map(([name, number]) => [name, call(number)]);
  return Object.fromEntries(outcomes.filter(([, result]) => result !== 'EPERM'));
}

/** Numbers that no kernel had when the list was made: EPERM from one runtime, ENOSYS from the other. */
export function newerThanTheList() {
  return [...new Set(Array.from({ length: 60 }, (_, n) => call(465 + n)))].sort((a, b) =>
    String(a).localeCompare(String(b)),
  );
}

export const mountTmpfs = () => call(NR.mount, text('none'), text('/tmp'), text('tmpfs'));
export const bindMount = () => call(NR.mount, text('/opt'), text('/tmp'), 0, 4096);
export const remountRootWritable = () => call(NR.mount, 0, text('/'), 0, MS_REMOUNT_BIND);
export const unmountProc = () => call(NR.umount2, text('/proc'), 2);
export const pivotRoot = () => call(NR.pivot_root, text('/tmp'), text('/tmp'));
export const mountCgroupV1 = () => call(NR.mount, text('none'), text('/tmp'), text('cgroup'), 0, text('memory'));
export const mountCgroupV2 = () => call(NR.mount, text('none'), text('/tmp'), text('cgroup2'));
export const mountSysfs = () => call(NR.mount, text('none'), text('/tmp'), text('sysfs'));
export const chroot = () => call(NR.chroot, text('/tmp'));

export function unshare() {
  return map(CLONE_NEW, (flag) => call(NR.unshare, flag));
}

/** A child that were born in spite of the filter would not get far: V8 does not survive a fork. */
export function cloneNamespace() {
  return map(CLONE_NEW, (flag) => call(NR.clone, flag | SIGCHLD));
}

/** A child in each new namespace, which ends at once, so that it can be told how it went even if it is born. */
export function cloneEach() {
  return Object.fromEntries(
    Object.entries(CLONE_NEW).map(([name, flag]) => {
      const parent = [0x85, 0xc0, 0x75, EXIT.length];
      const child = runCode([...fork(flag | SIGCHLD), ...parent, ...EXIT]);
      return [name, child < 0 ? getSystemErrorName(child) : 'ok'];
    }),
  );
}

export const clone3 = () => call(NR.clone3, 0, 0);

export function enterNamespacesOfInit() {
  const names = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];
  const outcomes = names.map((name) => {
    const fd = openSync(`/proc/1/ns/${name}`, 'r');
    try {
      return call(NR.setns, fd, 0);
    } finally {
      closeSync(fd);
    }
  });
  return [...new Set(outcomes)];
}

export function traceParent() {
  const PTRACE_ATTACH = 16;
  return call(NR.ptrace, PTRACE_ATTACH, process.ppid);
}

/** Of all address families and types but those a function needs, those that answered anything but EPERM. */
export function otherSockets() {
  const [STREAM, DGRAM, RAW, SEQPACKET, PACKET] = [1, 2, 3, 5, 10];
  const families = Array.from({ length: 50 }, (_, family) => family).filter(
    (family) => ![1, 2, 10, 16].includes(family),
  );
  const wanted = [
    ...families.flatMap((family) => [STREAM, DGRAM, RAW, SEQPACKET, PACKET].map((type) => [family, type, 0])),
    ...[2, 10].map((family) => [family, RAW, 1]), // ICMP, by hand: needs CAP_NET_RAW.
    ...Array.from({ length: 22 }, (_, protocol) => [16, RAW, protocol + 1]), // Every netlink but routes.
  ];
  const outcomes = wanted.map(([family, type, protocol]) => [
    `family ${family} type ${type} protocol ${protocol}`,
    call(NR.socket, family, type, protocol),
  ]);
  return Object.fromEntries(outcomes.filter(([, result]) => result !== 'EPERM'));
}

export function makeDevice() {
  const [S_IFCHR, S_IFBLK, AT_FDCWD] = [0o020666, 0o060666, -100];
  const mem = (1 << 8) | 1;
  return [
    call(NR.mknod, text('/tmp/mem'), S_IFCHR, mem),
    call(NR.mknod, text('/tmp/disk'), S_IFBLK, 254 << 8),
    call(NR.mknodat, AT_FDCWD, text('/tmp/mem'), S_IFCHR, mem),
  ];
}

export function openDevices() {
  const names = [
    'mem',
    'kmem',
    'port',
    'kmsg',
    'vda',
    'sda',
    'kvm',
    'fuse',
    'net/tun',
    'loop-control',
    'loop0',
    'vhost-net',
  ];
  return [...new Set(names.map((name) => openOutcome(`/dev/${name}`)))];
}

export function becomeRoot() {
  return [call(NR.setuid, 0), call(NR.setgid, 0), call(NR.setgroups, 0, 0)];
}

export function raiseFileLimit() {
  const RLIMIT_NOFILE = 7;
  return call(NR.prlimit64, 0, RLIMIT_NOFILE, koffi.address(Buffer.from(new BigUint64Array([4096n, 4096n]).buffer)), 0);
}

/** Both mean no: the kernel's own rule says EACCES. */
export const raisePriority = () => call(NR.setpriority, 0, 0, -20);
export const becomeRealtime = () => call(NR.sched_setscheduler, 0, 1, koffi.address(Buffer.from([1, 0, 0, 0])));
export const disableAddressRandomisation = () => call(NR.personality, 0x0_04_00_00);
export const askForKeyring = () => call(NR.keyctl, 0, -3, 0);

/** System calls through the other two doors of this processor, whose numbers mean other calls: a filter for one door must
 *  close them. Each in a child without JavaScript, since the answer is death. */
export function otherDoors() {
  const int80 = [0xb8, 20, 0, 0, 0, 0xcd, 0x80]; // getpid of i386
  const x32 = [0xb8, 39, 0, 0, 0x40, 0x0f, 0x05]; // getpid of x32
  return [int80, x32].map((door) => endOfChild(door));
}

/** fork; the child runs the code, then exits with 42. */
function endOfChild(door) {
  const parent = [0x85, 0xc0, 0x75, door.length + EXIT.length]; // test eax, eax; jnz to the end
  const child = runCode([...fork(), ...parent, ...door, ...EXIT]);
  const status = Buffer.alloc(4);
  raw(NR.wait4, child, koffi.address(status));
  const signal = status.readInt32LE() & 0x7f;
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? 'lived';
}

function openOutcome(path) {
  try {
    openSync(path, 'r');
    return `${path} opened`;
  } catch (error) {
    return error.code;
  }
}

function map(record, action) {
  return [...new Set(Object.values(record).map(action))];
}
