/** The OCI runtime configuration of a sandbox: what a function can see and do. One pure function; a golden test shows every
 *  change of it, and each item has an abuse case that fails without it (docs/security.md). Safe by default, no options
 *  that weaken it: the specification has no privileged mode, host path or host network. */

import type { Bytes } from '../../core/units.ts';
import { LISTEN_FD, TASK_PATH } from '../../core/control.ts';
import { seccompProfile } from './seccomp.ts';

export interface ProfileInput {
  /** The unpacked base layer, shared by all sandboxes, read-only. */
  readonly rootfs: string;
  /** Empty directory on a shared mount; what is mounted there later appears at /task. */
  readonly task: string;
  readonly cgroupsPath: string;
  /** First host uid and gid of the sandbox's own range of 65536. */
  readonly hostId: number;
  readonly memory: Bytes;
  /** V8 flags for this memory size. */
  readonly nodeFlags: readonly string[];
  readonly arch: string;
  /** A namespace made beforehand; without it the sandbox gets one with nothing but loopback. */
  readonly networkNamespace?: string | undefined;
}

/** Processes and threads; Node itself needs 11. */
export const PIDS_LIMIT = 64;
export const SANDBOX_UID = 1000;
const ID_RANGE = 65_536;
const MIB = 2 ** 20;

const MASKED_PATHS =
  `acpi asound interrupts kcore keys latency_stats timer_list timer_stats sched_debug scsi kallsyms kpagecount kpageflags
  kpagecgroup config.gz modules diskstats partitions pressure`
    .split(/\s+/)
    .map((name) => `/proc/${name}`);
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export function sandboxProfile(input: ProfileInput): object {
  const ids = [{ containerID: 0, hostID: input.hostId, size: ID_RANGE }];
  // Pages of a tmpfs count against the sandbox's memory: a full /tmp must not be an OOM kill.
  const tmp = Math.min(64 * MIB, Math.floor(input.memory / 4));
  const shm = Math.min(16 * MIB, Math.floor(input.memory / 8));
  return {
    ociVersion: '1.0.2',
    hostname: 'fn',
    process: {
      terminal: false,
      user: { uid: SANDBOX_UID, gid: SANDBOX_UID },
      cwd: '/',
      noNewPrivileges: true,
      // -v: tini's last line tells an exit code above 128 from a signal.
      args: ['/sbin/fn-init', '-v', '--', '/usr/local/bin/node', ...input.nodeFlags, '/opt/fn/bootstrap.mjs'],
      env: [
        'PATH=/usr/local/bin:/usr/bin:/bin',
        'HOME=/tmp',
        'TMPDIR=/tmp',
        'TZ=UTC',
        'FN_SANDBOX=1',
        `FN_LISTEN_FD=${LISTEN_FD}`,
        // Node's few threads share one heap of malloc's, which grows in small steps: 0.35 MiB less in every idle instance.
        'MALLOC_ARENA_MAX=1',
        'MALLOC_TOP_PAD_=16384',
      ],
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 },
        // Not 0: where core_pattern names a program, as systemd's does, the kernel starts that as root of the host for
        // every crash all the same, but not at 1, its mark for programs that must not dump [measured, Linux 6.1].
        { type: 'RLIMIT_CORE', soft: 1, hard: 1 },
        { type: 'RLIMIT_FSIZE', soft: 64 * MIB, hard: 64 * MIB },
        { type: 'RLIMIT_MEMLOCK', soft: 65_536, hard: 65_536 },
        { type: 'RLIMIT_MSGQUEUE', soft: 0, hard: 0 },
        { type: 'RLIMIT_SIGPENDING', soft: 1024, hard: 1024 },
      ],
    },
    root: { path: input.rootfs, readonly: true },
    hooks: { createContainer: [limitUserNamespace(input.hostId)] },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev', 'hidepid=2'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'noexec', 'strictatime', 'mode=755', 'size=64k', 'nr_inodes=64'],
      },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${shm}`, 'nr_inodes=1024'],
      },
      {
        destination: '/tmp',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'nodev', 'mode=1777', `size=${tmp}`, 'nr_inodes=4096'],
      },
      // rslave: what the worker mounts on the host side at a claim shows up here; nothing goes the other way.
      {
        destination: TASK_PATH,
        type: 'bind',
        source: input.task,
        options: ['rbind', 'rslave', 'ro', 'nosuid', 'nodev'],
      },
    ],
    linux: {
      cgroupsPath: input.cgroupsPath,
      namespaces: [
        ...['pid', 'mount', 'ipc', 'uts', 'cgroup', 'user'].map((type) => ({ type })),
        { type: 'network', ...(input.networkNamespace !== undefined && { path: input.networkNamespace }) },
      ],
      uidMappings: ids,
      gidMappings: ids,
      resources: {
        devices: [{ allow: false, access: 'rwm' }],
        memory: { limit: input.memory, swap: input.memory },
        pids: { limit: PIDS_LIMIT },
        // Until it is claimed a sandbox yields to real work.
        cpu: { shares: 128 },
      },
      maskedPaths: [...MASKED_PATHS, '/sys/firmware', '/sys/devices/virtual/powercap'],
      readonlyPaths: READONLY_PATHS,
      // crun's default is private, which would cut /task off from the host's mounts; runc's is this one.
      rootfsPropagation: 'rslave',
      seccomp: seccompProfile(input.arch),
    },
  };
}

/** What a sandbox may have of it. */
export const INOTIFY = { instances: 16, watches: 8192 } as const;

/** Per-user-namespace kernel limits. Without them one sandbox can use up what the kernel charges to the uid that created it,
 *  root: 128 inotify instances, and the host itself has none left. */
const USER_NAMESPACE_LIMITS: Readonly<Record<string, number>> = {
  max_inotify_instances: INOTIFY.instances,
  max_inotify_watches: INOTIFY.watches,
  max_user_namespaces: 0,
  max_mnt_namespaces: 0,
  max_net_namespaces: 0,
  max_pid_namespaces: 0,
  max_ipc_namespaces: 0,
  max_uts_namespaces: 0,
  max_cgroup_namespaces: 0,
};

/** Only root of the user namespace can write them, from inside: the runtime does so between making the sandbox and leaving
 *  the host's files, with the host's shell. In the host's own user namespace the same would limit the machine, so the
 *  script looks where it is first. It reads what the runtime tells it, since crun fails when nobody does. */
const LIMIT_SCRIPT = [
  'read -r state; read -r inside outside size </proc/self/uid_map && [ "$inside $outside" = "0 $1" ]',
  ...Object.entries(USER_NAMESPACE_LIMITS).map(([name, value]) => `echo ${value} >/proc/sys/user/${name}`),
].join(' && ');

function limitUserNamespace(hostId: number): object {
  return { path: '/bin/sh', args: ['sh', '-c', LIMIT_SCRIPT, 'sh', String(hostId)] };
}
