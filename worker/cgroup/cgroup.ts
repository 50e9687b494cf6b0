/** A control group: what a sandbox may use, what it has used, and the only handle that reaches every process of it, however
 *  often it forked. The OCI runtime makes the group at `ociPath(id)`; from then on this code limits it, reads it, freezes
 *  it, ends it and removes it, by writing a few small files. All groups of a platform lie below one parent of its own, and
 *  the directories below that parent are the truth about what still runs: a runtime's own list can be wrong.
 *
 *  Two drivers do the same with the kernel's two interfaces: v1 (one tree per controller) and v2 (one tree). A file per
 *  controller holds both forms side by side; group.ts composes them; v1.ts and v2.ts know where the directories are. */

import type { AccountFiles, FreezerFile } from '../../core/account.ts';
import type { Bytes, Micros, MilliCpu, Millis } from '../../core/units.ts';

export interface CgroupManager {
  readonly version: 'v1' | 'v2';
  /** Makes the parent group in all hierarchies and enables the controllers in it. Call it once before anything else; again
   *  does no harm. FnError machine.unsupported names what this machine lacks. */
  prepare(): Promise<void>;
  /** `linux.cgroupsPath` for a sandbox's config.json. */
  ociPath(id: string): string;
  /** Touches the file system only when used. */
  open(id: string): Cgroup;
  /** Ids of the groups below the parent, in any hierarchy. */
  list(): Promise<string[]>;
  /** Removes the parent group; fails while groups are below it. */
  remove(): Promise<void>;
}

export interface Cgroup extends Disposable {
  readonly id: string;
  /** Makes the group itself, for processes that no OCI runtime starts. */
  create(): void;
  /** Moves a process in. Its children follow when they are born, not if they live already. */
  add(pid: number): void;
  /** A few small writes, no await: a claim waits for it. Swap is off; on v2 the kernel kills the whole group when it is out
   *  of memory, on v1 one process, which shows in `oomKills`: then the caller kills the group. */
  setLimits(limits: Partial<Limits>): void;
  /** Reads descriptors opened once: cheap enough for twice per invocation. */
  stats(): CgroupStats;
  /** Where the counters of an account are, for a process without our rights that reads them for every invocation. `owner` is
   *  given the right to reset the peak. */
  accountFiles(owner: number): AccountFiles;
  /** Where `owner` may freeze and thaw it from now on. */
  freezerFile(owner: number): FreezerFile;
  /** Starts measuring memoryPeak anew; false where the kernel cannot. */
  resetPeak(): boolean;
  /** Resolves when no process of the group runs any more. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Ends every process, frozen ones too, and resolves when none runs any code. Fails when some do after `within`. Zombies
   *  are not waited for: they count in `stats().pids` until their parent has collected them. */
  kill(within?: Millis): Promise<void>;
  /** Process ids of the group and of groups below it, in any hierarchy. */
  processes(): number[];
  /** How long tasks had to wait for a resource; undefined where the kernel does not tell. */
  pressure(): Pressure | undefined;
  /** Bytes moved from and to block devices; undefined where the kernel does not tell. */
  io(): IoStats | undefined;
  /** Removes the group and those below it in every hierarchy. Idempotent. Fails while processes are left. */
  remove(): Promise<void>;
}

export interface Limits {
  readonly memory: Bytes;
  readonly cpu: MilliCpu;
  readonly pids: number;
  /** Share of the cpu when it is short, 1 to 10,000 as on v2; the kernel's default is 100. */
  readonly weight?: number;
  readonly io?: readonly IoLimit[];
}

/** Buffered writes escape it on v1 [measured]: there only O_DIRECT, fsync and reads are held back. */
export interface IoLimit {
  /** `major:minor` of a whole disk. */
  readonly device: string;
  readonly readBytesPerS?: Bytes;
  readonly writeBytesPerS?: Bytes;
}

/** Counters grow from the making of the group on. */
export interface CgroupStats {
  readonly cpu: Micros;
  /** How long the quota held runnable tasks back, summed over cpus. */
  readonly throttled: Micros;
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly memory: Bytes;
  /** Highest `memory` since the group was made or resetPeak; undefined before Linux 5.19 on v2. */
  readonly memoryPeak: Bytes | undefined;
  /** Processes the kernel killed because the group was out of memory. */
  readonly oomKills: number;
  /** Tasks, threads included. */
  readonly pids: number;
  /** Forks refused because of the pids limit. */
  readonly forksRefused: number;
}

/** Time in which at least one task waited (`some`) or all did (`full`), since the group was made. */
export interface Pressure {
  readonly cpu: PressureTimes;
  readonly memory: PressureTimes;
  readonly io: PressureTimes;
}
export interface PressureTimes {
  readonly some: Micros;
  readonly full: Micros;
}

export interface IoStats {
  readonly readBytes: Bytes;
  readonly writtenBytes: Bytes;
}
