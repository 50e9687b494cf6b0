/** One group, whichever driver: its directories, and a controller object for each thing that can be limited or read. Only
 *  killing differs between the drivers, so they pass it in. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AccountFiles, FreezerFile } from '../../core/account.ts';
import { sleep } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import type { Millis } from '../../core/units.ts';
import type { Cgroup, CgroupStats, IoStats, Limits, Pressure } from './cgroup.ts';
import type { Cpu } from './cpu.ts';
import { codeOf, control } from './file.ts';
import type { Freezer } from './freezer.ts';
import type { Io } from './io.ts';
import type { Memory } from './memory.ts';
import type { Pids } from './pids.ts';
import { readPressure } from './pressure.ts';
import { processesIn, removeTree } from './tree.ts';

export interface GroupParts {
  readonly id: string;
  /** Where create() makes the group: every hierarchy with a controller. */
  readonly dirs: readonly string[];
  /** Where an OCI runtime may have made it besides. */
  readonly otherDirs: readonly string[];
  readonly cpu: Cpu;
  readonly memory: Memory;
  readonly pids: Pids;
  readonly freezer: Freezer;
  readonly io: Io | undefined;
  /** The group's directory in the v2 tree, if there is one. */
  readonly pressureDir: string | undefined;
  /** What a new directory needs before processes may enter it. */
  initialise?(): void;
  /** Sends SIGKILL to every process of the group, frozen ones included. */
  strike(processes: () => readonly number[]): void;
}

const FREEZE_WITHIN: Millis = 2000;
const KILL_WITHIN: Millis = 10_000;

export class Group implements Cgroup {
  readonly id: string;
  readonly #parts: GroupParts;

  constructor(parts: GroupParts) {
    this.id = parts.id;
    this.#parts = parts;
  }

  create(): void {
    for (const dir of this.#parts.dirs) mkdirSync(dir, { recursive: true });
    this.#parts.initialise?.();
  }

  add(pid: number): void {
    for (const dir of this.#parts.dirs) control(join(dir, 'cgroup.procs'), pid);
  }

  setLimits({ memory, cpu, pids, weight, io = [] }: Partial<Limits>): void {
    if (memory !== undefined) this.#parts.memory.setLimit(memory);
    if (cpu !== undefined) this.#parts.cpu.setQuota(cpu);
    if (pids !== undefined) this.#parts.pids.setLimit(pids);
    if (weight !== undefined) this.#parts.cpu.setWeight(weight);
    for (const limit of io) {
      if (this.#parts.io?.setLimit(limit)) continue;
      throw new FnError('machine.unsupported', 'this kernel cannot limit io by cgroup');
    }
  }

  stats(): CgroupStats {
    return { ...this.#parts.cpu.stats(), ...this.#parts.memory.stats(), ...this.#parts.pids.stats() };
  }

  accountFiles(owner: number): AccountFiles {
    const memoryPeak = this.#parts.memory.peakFile(owner);
    return { ...this.#parts.cpu.accountFiles(), ...(memoryPeak && { memoryPeak }) };
  }

  freezerFile(owner: number): FreezerFile {
    return this.#parts.freezer.file(owner);
  }

  resetPeak(): boolean {
    return this.#parts.memory.resetPeak();
  }

  /** Usually frozen when the write returns; a task inside a system call takes until it comes to a point where it can stop. */
  async freeze(): Promise<void> {
    const { freezer } = this.#parts;
    const end = performance.now() + FREEZE_WITHIN;
    freezer.freeze();
    for (let wait = 1; !freezer.isFrozen(); wait = Math.min(wait * 2, 50)) {
      if (performance.now() > end) {
        freezer.thaw();
        throw new FnError('internal', `group ${this.id} did not freeze within ${FREEZE_WITHIN} ms`);
      }
      await sleep(wait);
    }
  }

  async thaw(): Promise<void> {
    this.#parts.freezer.thaw();
  }

  async kill(within: Millis = KILL_WITHIN): Promise<void> {
    const end = performance.now() + within;
    const struck = new Set<number>();
    for (let wait = 1; ; wait = Math.min(wait * 2, 20)) {
      const left = this.processes();
      if (left.length === 0) return;
      if (performance.now() > end) {
        throw new FnError('internal', `group ${this.id} still has ${left.length} processes ${within} ms after SIGKILL`);
      }
      if (left.some((pid) => !struck.has(pid))) {
        this.#parts.strike(() => this.processes());
        for (const pid of left) struck.add(pid);
      }
      await sleep(wait);
    }
  }

  processes(): number[] {
    return processesIn([...this.#parts.dirs, ...this.#parts.otherDirs]);
  }

  pressure(): Pressure | undefined {
    return this.#parts.pressureDir === undefined ? undefined : readPressure(this.#parts.pressureDir);
  }

  io(): IoStats | undefined {
    return this.#parts.io?.stats();
  }

  async remove(): Promise<void> {
    this[Symbol.dispose]();
    for (const dir of [...this.#parts.dirs, ...this.#parts.otherDirs]) await removeTree(dir);
  }

  [Symbol.dispose](): void {
    for (const part of [this.#parts.cpu, this.#parts.memory, this.#parts.pids, this.#parts.freezer]) {
      part[Symbol.dispose]();
    }
  }
}

/** SIGKILL to each; one that has ended meanwhile is what we want. */
export function signalAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw error;
    }
  }
}
