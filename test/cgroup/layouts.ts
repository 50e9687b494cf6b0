/** What /proc says on machines of several kinds: lines about cgroups of /proc/self/mountinfo, and /proc/cgroups. */

interface Machine {
  readonly mountinfo: string;
  readonly cgroups: string;
}

function cgroups(lines: Readonly<Record<string, readonly [hierarchy: number, enabled: 0 | 1]>>): string {
  const rows = Object.entries(lines).map(([name, [hierarchy, enabled]]) => `${name}\t${hierarchy}\t1\t${enabled}`);
  return `#subsys_name\thierarchy\tnum_cgroups\tenabled\n${rows.join('\n')}\n`;
}

const ROOT_FS = '23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n';

/** Each controller by itself, and the v2 tree beside them with a controller that nobody mounted. */
export const separateHybrid: Machine = {
  mountinfo: `${ROOT_FS}31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`,
  cgroups: cgroups({
    cpuset: [3, 1],
    cpu: [1, 1],
    cpuacct: [2, 1],
    blkio: [7, 1],
    memory: [4, 1],
    devices: [5, 1],
    freezer: [6, 1],
    net_cls: [0, 1],
    hugetlb: [0, 1],
    pids: [8, 1],
  }),
};

const ALL_ON_V2 = cgroups({
  cpuset: [0, 1],
  cpu: [0, 1],
  cpuacct: [0, 1],
  blkio: [0, 1],
  memory: [0, 1],
  devices: [0, 1],
  freezer: [0, 1],
  pids: [0, 1],
});

/** Debian ≥ 11, Ubuntu ≥ 21.10, Fedora ≥ 31. */
export const systemdV2: Machine = {
  mountinfo: `${ROOT_FS}29 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`,
  cgroups: ALL_ON_V2,
};

/** Debian 10, Ubuntu 20.04: related controllers share a hierarchy, with links for the single names. */
export const systemdHybrid: Machine = {
  mountinfo: `${ROOT_FS}28 17 0:24 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
29 28 0:25 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
30 28 0:26 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
33 28 0:29 / /sys/fs/cgroup/freezer rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,freezer
34 28 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,cpu,cpuacct
35 28 0:31 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,net_cls,net_prio
36 28 0:32 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,memory
37 28 0:33 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:19 - cgroup cgroup rw,pids
38 28 0:34 / /sys/fs/cgroup/cpuset rw,nosuid,nodev,noexec,relatime shared:20 - cgroup cgroup rw,cpuset
`,
  cgroups: cgroups({
    cpuset: [9, 1],
    cpu: [5, 1],
    cpuacct: [5, 1],
    memory: [7, 1],
    freezer: [4, 1],
    net_cls: [6, 1],
    net_prio: [6, 1],
    pids: [8, 1],
  }),
};

/** A container on a v1 host sees only its own groups, bound from the host's trees. */
export const dockerV1: Machine = {
  mountinfo: `700 650 0:90 / / rw,relatime - overlay overlay rw
710 700 0:95 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
711 710 0:26 /docker/c0ffee /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd
712 710 0:30 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,cpu,cpuacct
713 710 0:32 /docker/c0ffee /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:18 - cgroup cgroup rw,memory
714 710 0:33 /docker/c0ffee /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime master:19 - cgroup cgroup rw,pids
715 710 0:29 /docker/c0ffee /sys/fs/cgroup/freezer ro,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,freezer
`,
  cgroups: systemdHybrid.cgroups,
};

/** A container on a v2 host in a cgroup namespace of its own: its group looks like the root. */
export const dockerV2: Machine = {
  mountinfo: `700 650 0:90 / / rw,relatime - overlay overlay rw
712 710 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
`,
  cgroups: ALL_ON_V2,
};

/** The v2 tree of the host bound into a container that stayed in the host's cgroup namespace. */
export const dockerV2Host: Machine = {
  mountinfo: `712 710 0:26 /system.slice/docker-c0ffee.scope /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw
`,
  cgroups: ALL_ON_V2,
};

/** The same trees again under other paths, one of them with a space, and a mount that covers an earlier one. */
export const mountedTwice: Machine = {
  mountinfo: `50 23 0:26 / /mnt/all\\040groups rw,relatime - cgroup2 cgroup2 rw
29 24 0:25 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw
30 29 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`,
  cgroups: ALL_ON_V2,
};

/** Raspberry Pi OS: the memory controller is off unless the kernel's command line asks for it. */
export const withoutMemory: Machine = {
  mountinfo: systemdHybrid.mountinfo
    .split('\n')
    .filter((line) => !line.includes('rw,memory'))
    .join('\n'),
  cgroups: systemdHybrid.cgroups.replace('memory\t7\t1\t1', 'memory\t0\t1\t0'),
};

export const none: Machine = { mountinfo: ROOT_FS, cgroups: ALL_ON_V2 };
