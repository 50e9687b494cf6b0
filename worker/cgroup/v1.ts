/** cgroup v1: a tree per controller, each mounted somewhere of its own. A group is a directory of the same path in all of
 *  them. The OCI runtimes make it in trees we do not use too (name=systemd, the v2 tree of a hybrid host), so listing,
 *  killing and removing look at every tree. [measured: runc 1.1.5] */

import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import type { Cgroup, CgroupManager } from './cgroup.ts';
import { CpuV1 } from './cpu.ts';
import { control, controlIfPresent } from './file.ts';
import { FreezerV1 } from './freezer.ts';
import { Group, signalAll } from './group.ts';
import { IoV1 } from './io.ts';
import type { CgroupLayout } from './layout.ts';
import { checkId, idsBelow, removeParents } from './manager.ts';
import { MemoryV1 } from './memory.ts';
import { Pids } from './pids.ts';
import { subtree } from './tree.ts';

const NEEDED = ['cpu', 'cpuacct', 'freezer', 'memory', 'pids'] as const;

export class CgroupsV1 implements CgroupManager {
  readonly version = 'v1';
  readonly #layout: CgroupLayout;
  readonly #name: string;
  readonly #mounts: ReadonlyMap<string, string>;

  /** @param name of the parent group. */
  constructor(layout: CgroupLayout, name: string) {
    this.#layout = layout;
    this.#name = name;
    this.#mounts = new Map(layout.v1.flatMap(({ mount, controllers }) => controllers.map((each) => [each, mount])));
  }

  async prepare(): Promise<void> {
    const missing = NEEDED.filter((name) => !this.#mounts.has(name));
    if (missing.length > 0) throw unsupported(missing, this.#layout.disabled);
    try {
      for (const parent of this.#controlled('')) mkdirSync(parent, { recursive: true });
      this.#initialiseCpuset('');
    } catch (error) {
      throw new FnError('machine.unsupported', 'the cgroup hierarchies cannot be written', {
        cause: error,
        hint: 'Run as root; in a container, with write access to /sys/fs/cgroup.',
      });
    }
  }

  /** Absolute: below each hierarchy's mount, whatever group this process is in. */
  ociPath(id: string): string {
    return `/${this.#name}/${checkId(id)}`;
  }

  open(id: string): Cgroup {
    checkId(id);
    const dir = (controller: string): string => join(this.#mounts.get(controller) ?? '/nowhere', this.#name, id);
    const v2 = this.#layout.v2 && join(this.#layout.v2.mount, this.#name, id);
    const freezerDir = dir('freezer');
    const freezer = new FreezerV1(freezerDir);
    return new Group({
      id,
      dirs: this.#controlled(id),
      otherDirs: this.#others(id),
      cpu: new CpuV1(dir('cpu'), dir('cpuacct')),
      memory: new MemoryV1(dir('memory')),
      pids: new Pids(dir('pids')),
      freezer,
      io: this.#mounts.has('blkio') ? new IoV1(dir('blkio')) : undefined,
      pressureDir: v2,
      initialise: () => this.#initialiseCpuset(id),
      // Frozen, a group can neither fork away from the signals nor give a process id to someone else; the signals then
      // take effect with the thaw.
      strike(processes) {
        controlIfPresent(join(freezerDir, 'freezer.state'), 'FROZEN');
        try {
          signalAll(processes());
        } finally {
          for (const each of subtree(freezerDir)) controlIfPresent(join(each, 'freezer.state'), 'THAWED');
        }
      },
    });
  }

  async list(): Promise<string[]> {
    return idsBelow([...this.#controlled(''), ...this.#others('')]);
  }

  async remove(): Promise<void> {
    await removeParents([...this.#controlled(''), ...this.#others('')]);
  }

  /** Directories of a group, or of the parent, in hierarchies that have a controller. */
  #controlled(id: string): string[] {
    const mounts = this.#layout.v1.filter(({ controllers }) => controllers.some((name) => !name.startsWith('name=')));
    return mounts.map(({ mount }) => join(mount, this.#name, id));
  }

  #others(id: string): string[] {
    const mounts = this.#layout.v1.filter(({ controllers }) => controllers.every((name) => name.startsWith('name=')));
    return [...mounts.map(({ mount }) => mount), ...(this.#layout.v2 ? [this.#layout.v2.mount] : [])].map((mount) =>
      join(mount, this.#name, id),
    );
  }

  /** A new cpuset group has no cpus and no memory nodes, and no process may enter it before it has. */
  #initialiseCpuset(id: string): void {
    const mount = this.#mounts.get('cpuset');
    if (mount === undefined) return;
    const dir = join(mount, this.#name, id);
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (readFileSync(join(dir, file), 'latin1').trim() !== '') continue;
      control(join(dir, file), readFileSync(join(dirname(dir), file), 'latin1').trim());
    }
  }
}

function unsupported(missing: readonly string[], disabled: readonly string[]): FnError {
  const off = missing.filter((name) => disabled.includes(name));
  return new FnError('machine.unsupported', `the cgroup controllers ${missing.join(', ')} are not mounted`, {
    hint:
      off.length > 0
        ? `The kernel was booted without ${off.join(', ')}: remove cgroup_disable from its command line.`
        : 'Mount them below /sys/fs/cgroup, or boot with cgroup v2.',
  });
}
