/** Which cgroup hierarchies this machine has, read from two texts of /proc. The kernel gives each controller to one
 *  interface: v1 where a v1 hierarchy mounts it, else v2. A *hybrid* host mounts both, with the controllers we need on v1
 *  and the v2 tree beside it for systemd's own use, so there v1 is the driver and the v2 tree only has to be cleaned up. */

export interface Hierarchy {
  readonly mount: string;
  /** `memory`, `cpu`, …; for a hierarchy without controllers its name, `name=systemd`. */
  readonly controllers: readonly string[];
}

export interface CgroupLayout {
  readonly kind: 'v1' | 'v2' | 'hybrid' | 'none';
  readonly v1: readonly Hierarchy[];
  /** The v2 tree: where it is mounted, and which of its groups appears there (not `/` for a bind mount in a container). */
  readonly v2: { readonly mount: string; readonly root: string } | undefined;
  /** Controllers the kernel has but switched off at boot (`cgroup_disable=memory`). */
  readonly disabled: readonly string[];
}

/** @param mountinfo /proc/self/mountinfo, proc(5).
 *  @param cgroups /proc/cgroups, cgroups(7). Since Linux 6.12 it lists only controllers that v1 can use, which are all that
 *  are looked up in it. */
export function readLayout(mountinfo: string, cgroups: string): CgroupLayout {
  const known = cgroups
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('\t'));
  const names = new Set(known.map(([name]) => name));
  const mounts = visible(mountinfo.split('\n').flatMap(parseMount));
  const v1 = mounts
    .filter(({ type }) => type === 'cgroup')
    .map(({ mount, options }) => ({
      mount,
      controllers: options.filter((option) => names.has(option) || option.startsWith('name=')),
    }));
  const unified = mounts.find(({ type }) => type === 'cgroup2');
  const hasV1 = v1.some(({ controllers }) => controllers.some((name) => !name.startsWith('name=')));
  const v2Only = unified ? 'v2' : 'none';
  const withV1 = unified ? 'hybrid' : 'v1';
  return {
    kind: hasV1 ? withV1 : v2Only,
    v1,
    v2: unified && { mount: unified.mount, root: unified.root },
    disabled: known.filter(([, , , enabled]) => enabled === '0').map(([name = '']) => name),
  };
}

interface Mount {
  readonly root: string;
  readonly mount: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** `31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`: optional fields lie before the dash. */
function parseMount(line: string): Mount[] {
  const [before, after] = line.split(' - ');
  const [, , , root, mount] = before?.split(' ') ?? [];
  const [type = '', , options = ''] = after?.split(' ') ?? [];
  if (!root || !mount || !type.startsWith('cgroup')) return [];
  return [{ root: unescape(root), mount: unescape(mount), type, options: options.split(',') }];
}

/** A hierarchy may be mounted several times, a mount point may be covered: one mount for each, below /sys/fs/cgroup where
 *  there is a choice, and what was mounted last where one covers the other. */
function visible(mounts: readonly Mount[]): Mount[] {
  const top = new Map(mounts.map((mount) => [mount.mount, mount]));
  const ordered = [...top.values()].sort((a, b) => rank(a) - rank(b));
  const perHierarchy = new Map(ordered.map((mount) => [`${mount.type} ${hierarchyOf(mount)}`, mount]));
  return [...perHierarchy.values()];
}

function rank({ mount }: Mount): number {
  return mount === '/sys/fs/cgroup' || mount.startsWith('/sys/fs/cgroup/') ? 1 : 0;
}

function hierarchyOf({ type, options }: Mount): string {
  return type === 'cgroup2' ? '' : options.filter((option) => !['rw', 'ro', 'xattr'].includes(option)).join();
}

/** Space, tab, newline and backslash are octal in mountinfo. */
function unescape(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
