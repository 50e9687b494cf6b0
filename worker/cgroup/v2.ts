/** cgroup v2: one tree, whose groups get a controller's files when the parent's cgroup.subtree_control names it. Two rules
 *  of the kernel shape where our parent group can be: a controller must be enabled in every group from the root down, and a
 *  group other than the root that passes controllers on must not hold processes itself. And one of systemd: a group below
 *  which others may make groups is *delegated* (Delegate=yes), the rest of the tree is systemd's. So:
 *   - in a delegated group (a service): below that group, after its processes moved to a leaf beside ours;
 *   - at the root of a container's cgroup namespace: the same, that root is ours;
 *   - else below the real root, where Docker's cgroupfs driver has its groups too. */

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { FnError } from '../../core/errors.ts';
import type { Cgroup, CgroupManager } from './cgroup.ts';
import { CpuV2 } from './cpu.ts';
import { codeOf, control, controlIfPresent } from './file.ts';
import { FreezerV2 } from './freezer.ts';
import { Group, signalAll } from './group.ts';
import { IoV2 } from './io.ts';
import { checkId, idsBelow, removeParents } from './manager.ts';
import { MemoryV2 } from './memory.ts';
import { Pids } from './pids.ts';

const NEEDED = ['cpu', 'memory', 'pids'] as const;
/** Used where the kernel has them. */
const WANTED = [...NEEDED, 'cpuset', 'io'] as const;
/** Where the platform's own processes go in a group that is delegated to us. */
const LEAF = 'fn-platform';

export interface V2Options {
  /** Where the tree is mounted. */
  readonly mount: string;
  /** This process's group, from the mount: `/system.slice/fn.service`. */
  readonly own: string;
  /** Of the parent group. */
  readonly name: string;
  /** Whether systemd left the group at this path to its processes. */
  readonly isDelegated: (dir: string) => boolean;
}

export class CgroupsV2 implements CgroupManager {
  readonly version = 'v2';
  readonly #mount: string;
  readonly #base: string;
  readonly #parent: string;

  constructor(options: V2Options) {
    this.#mount = options.mount;
    this.#base = findBase(options);
    this.#parent = join(this.#base, options.name);
  }

  async prepare(): Promise<void> {
    const available = readFileSync(join(this.#base, 'cgroup.controllers'), 'latin1').trim().split(' ');
    const missing = NEEDED.filter((name) => !available.includes(name));
    if (missing.length > 0) {
      throw new FnError('machine.unsupported', `the cgroup controllers ${missing.join(', ')} are not available`, {
        hint: 'The kernel was booted without them (cgroup_disable), or the group above did not pass them on.',
      });
    }
    const controllers = WANTED.filter((name) => available.includes(name));
    try {
      if (!this.#isRealRoot()) this.#vacate();
      enable(this.#base, controllers);
      mkdirSync(this.#parent, { recursive: true });
      enable(this.#parent, controllers);
    } catch (error) {
      throw new FnError('machine.unsupported', `the cgroup ${this.#base} cannot be written`, {
        cause: error,
        hint: 'Run as root; in a service with Delegate=yes; in a container with write access to /sys/fs/cgroup.',
      });
    }
  }

  ociPath(id: string): string {
    return `/${relative(this.#mount, join(this.#parent, checkId(id)))}`;
  }

  open(id: string): Cgroup {
    const dir = join(this.#parent, checkId(id));
    return new Group({
      id,
      dirs: [dir],
      otherDirs: [],
      cpu: new CpuV2(dir),
      memory: new MemoryV2(dir),
      pids: new Pids(dir),
      freezer: new FreezerV2(dir),
      io: new IoV2(dir),
      pressureDir: dir,
      // cgroup.kill exists since Linux 5.14; it reaches frozen processes and leaves no gap to fork through.
      strike(processes) {
        if (!controlIfPresent(join(dir, 'cgroup.kill'), 1)) signalAll(processes());
      },
    });
  }

  async list(): Promise<string[]> {
    return idsBelow([this.#parent]);
  }

  async remove(): Promise<void> {
    await removeParents([this.#parent]);
  }

  /** The root of the whole tree has no cgroup.type, and may hold processes beside groups. */
  #isRealRoot(): boolean {
    return !existsSync(join(this.#base, 'cgroup.type'));
  }

  /** Moves every process of the delegated group to a leaf: this one, the supervisor, and all it has started. Processes born
   *  meanwhile appear in the next round. */
  #vacate(): void {
    const leaf = join(this.#base, LEAF);
    mkdirSync(leaf, { recursive: true });
    for (let round = 0; round < 100; round++) {
      const pids = readFileSync(join(this.#base, 'cgroup.procs'), 'latin1').split('\n').filter(Boolean);
      if (pids.length === 0) return;
      for (const pid of pids) {
        try {
          control(join(leaf, 'cgroup.procs'), pid);
        } catch (error) {
          if (codeOf(error) !== 'ESRCH') throw error; // It has ended.
        }
      }
    }
    throw new FnError('machine.unsupported', `processes keep appearing in the cgroup ${this.#base}`);
  }
}

function findBase({ mount, own, isDelegated }: V2Options): string {
  for (let dir = join(mount, own); dir.startsWith(`${mount}/`); dir = dirname(dir)) if (isDelegated(dir)) return dir;
  return mount;
}

/** One write for each: a single write of which one part fails enables none. The kernel may refuse what is only wanted, as
 *  cpuset below a partition; the platform does without. */
function enable(dir: string, controllers: readonly string[]): void {
  const enabled = readFileSync(join(dir, 'cgroup.subtree_control'), 'latin1').trim().split(' ');
  for (const name of controllers.filter((each) => !enabled.includes(each))) {
    try {
      control(join(dir, 'cgroup.subtree_control'), `+${name}`);
    } catch (error) {
      if (NEEDED.some((needed) => needed === name)) throw error;
    }
  }
}
