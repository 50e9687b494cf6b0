/** All instances this thread of the gateway may use, and their groups. */

import type { RoutableInstance } from '../../core/control.ts';
import type { FunctionName, InstanceId, RevisionId } from '../../core/ids.ts';
import type { RevisionRecord } from '../../core/records.ts';
import type { RevisionLoad } from '../load.ts';
import { Group, type GroupOptions } from './group.ts';
import type { Instance } from './instance.ts';

export class Slots {
  readonly #options: GroupOptions;
  readonly #groups = new Map<RevisionId, Group>();
  readonly #instances = new Map<InstanceId, Instance>();

  constructor(options: GroupOptions) {
    this.#options = { ...options, acquire: (name, revision) => this.#acquire(options, name, revision) };
  }

  get(id: InstanceId): Instance | undefined {
    return this.#instances.get(id);
  }

  instances(): readonly Instance[] {
    return [...this.#instances.values()];
  }

  get size(): number {
    return this.#instances.size;
  }

  group(revision: RevisionRecord, load: RevisionLoad): Group {
    let group = this.#groups.get(revision.id);
    if (!group) this.#groups.set(revision.id, (group = new Group(revision, load, this.#options)));
    return group;
  }

  /** The group of a revision that was asked for before. */
  known(revision: RevisionId): Group | undefined {
    return this.#groups.get(revision);
  }

  /** Takes an instance in; again is harmless. */
  add(info: RoutableInstance, group: Group): void {
    if (this.#instances.has(info.id)) return;
    this.#instances.set(info.id, group.add(info));
    group.load.instance(1);
    group.released();
  }

  /** The instance is gone, or no longer ours. */
  remove(id: InstanceId): void {
    const instance = this.#instances.get(id);
    if (!instance) return;
    this.#instances.delete(id);
    instance.group.remove(instance);
    instance.group.load.instance(-1);
    instance.drop();
    instance.group.released();
  }

  /** Forgets groups that nothing refers to any more. */
  prune(inTraffic: (revision: RevisionId) => boolean): void {
    for (const [id, group] of this.#groups) {
      if (inTraffic(id)) continue;
      group.evict();
      if (!group.isEmpty) continue;
      group[Symbol.dispose]();
      this.#groups.delete(id);
    }
  }

  async #acquire(options: GroupOptions, name: FunctionName, revision: RevisionId): Promise<RoutableInstance> {
    const info = await options.acquire(name, revision);
    const group = this.#groups.get(revision);
    if (group) this.add(info, group);
    return info;
  }
}
