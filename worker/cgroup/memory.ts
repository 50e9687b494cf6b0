/** Memory: a hard limit without swap, what happens when it is reached, use and peak. */

import { chownSync } from 'node:fs';
import { join } from 'node:path';
import type { AccountFiles } from '../../core/account.ts';
import type { Bytes } from '../../core/units.ts';
import { codeOf, control, controlIfPresent, field, OpenFile } from './file.ts';

export interface MemoryStats {
  readonly memory: Bytes;
  readonly memoryPeak: Bytes | undefined;
  readonly oomKills: number;
}

export interface Memory extends Disposable {
  setLimit(bytes: Bytes): void;
  stats(): MemoryStats;
  resetPeak(): boolean;
  /** The file with the peak, which `owner` may reset from now on; undefined where the kernel keeps none. */
  peakFile(owner: number): AccountFiles['memoryPeak'];
}

/** `memory.memsw` limits memory and swap together, so swap is off when both limits are equal. `memory.failcnt` then stays 0
 *  [measured on 6.18]; `oom_kill` in memory.oom_control (since Linux 4.13) counts. There is no group kill: after an OOM kill
 *  the other processes of the group run on. */
export class MemoryV1 implements Memory {
  readonly #dir: string;
  readonly #usage: OpenFile;
  readonly #peak: OpenFile;
  readonly #oom: OpenFile;

  constructor(dir: string) {
    this.#dir = dir;
    this.#usage = new OpenFile(join(dir, 'memory.usage_in_bytes'));
    this.#peak = new OpenFile(join(dir, 'memory.max_usage_in_bytes'), 'r+');
    this.#oom = new OpenFile(join(dir, 'memory.oom_control'));
  }

  /** The kernel refuses (EINVAL) memory > memsw at any moment: memory goes first when it shrinks, memsw when it grows.
   *  memsw is missing where the kernel was booted without swap accounting. */
  setLimit(bytes: Bytes): void {
    const memory = join(this.#dir, 'memory.limit_in_bytes');
    const withSwap = join(this.#dir, 'memory.memsw.limit_in_bytes');
    try {
      control(memory, bytes);
    } catch (error) {
      if (codeOf(error) !== 'EINVAL') throw error;
      control(withSwap, bytes);
      control(memory, bytes);
    }
    controlIfPresent(withSwap, bytes);
  }

  stats(): MemoryStats {
    return {
      memory: this.#usage.number(),
      memoryPeak: this.#peak.number(),
      oomKills: field(this.#oom.text(), 'oom_kill'),
    };
  }

  resetPeak(): boolean {
    this.#peak.write('0');
    return true;
  }

  peakFile(owner: number): AccountFiles['memoryPeak'] {
    const path = join(this.#dir, 'memory.max_usage_in_bytes');
    chownSync(path, owner, owner);
    return { path, reset: '0' };
  }

  [Symbol.dispose](): void {
    this.#usage[Symbol.dispose]();
    this.#peak[Symbol.dispose]();
    this.#oom[Symbol.dispose]();
  }
}

/** memory.peak exists since Linux 5.19. Since 6.12 a write of anything resets it for readers of the same descriptor, which
 *  is why that descriptor is opened for both; before, the write is refused and the peak is that of the group's life. */
export class MemoryV2 implements Memory {
  readonly #dir: string;
  readonly #current: OpenFile;
  readonly #peak: OpenFile;
  readonly #events: OpenFile;
  #hasPeak = true;
  #canReset = true;

  constructor(dir: string) {
    this.#dir = dir;
    this.#current = new OpenFile(join(dir, 'memory.current'));
    this.#peak = new OpenFile(join(dir, 'memory.peak'), 'r+');
    this.#events = new OpenFile(join(dir, 'memory.events'));
  }

  /** memory.oom.group exists since Linux 4.19. memory.swap.max is missing without swap accounting. */
  setLimit(bytes: Bytes): void {
    controlIfPresent(join(this.#dir, 'memory.swap.max'), 0);
    controlIfPresent(join(this.#dir, 'memory.oom.group'), 1);
    control(join(this.#dir, 'memory.max'), bytes);
  }

  stats(): MemoryStats {
    return {
      memory: this.#current.number(),
      memoryPeak: this.#readPeak(),
      oomKills: field(this.#events.text(), 'oom_kill'),
    };
  }

  resetPeak(): boolean {
    if (!this.#canReset || this.#readPeak() === undefined) return false;
    try {
      this.#peak.write('reset');
    } catch (error) {
      if (codeOf(error) !== 'EINVAL') throw error;
      this.#canReset = false;
    }
    return this.#canReset;
  }

  peakFile(owner: number): AccountFiles['memoryPeak'] {
    if (this.#readPeak() === undefined) return undefined;
    const path = join(this.#dir, 'memory.peak');
    if (!this.resetPeak()) return { path };
    chownSync(path, owner, owner);
    return { path, reset: 'reset' };
  }

  [Symbol.dispose](): void {
    this.#current[Symbol.dispose]();
    this.#peak[Symbol.dispose]();
    this.#events[Symbol.dispose]();
  }

  #readPeak(): Bytes | undefined {
    if (!this.#hasPeak) return undefined;
    try {
      return this.#peak.number();
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      this.#hasPeak = false;
      return undefined;
    }
  }
}
