/** What an invocation used, read from its instance's cgroup: numbers from the host's side, which a function cannot forge.
 *  The gateway reads them, since it alone knows when an invocation begins and ends; the worker says which files they are in
 *  (the layout of v1 or v2 is its business) and gives the gateway the right to reset the peak.
 *
 *  A read of an open cgroup file costs 1–2 µs. Exact where an instance serves one invocation at a time; above that the
 *  counters belong to all that ran together, and the account says `shared`. */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { StartKind } from './records.ts';
import type { Bytes, Micros, Millis } from './units.ts';

/** A number in a cgroup file: the whole file, or the one after `field`. `perMicro` units of it make a microsecond. */
export interface CounterFile {
  readonly path: string;
  readonly field?: string;
  readonly perMicro: number;
}

export interface AccountFiles {
  readonly cpu: CounterFile;
  readonly throttled: CounterFile;
  /** Absent where the kernel keeps no peak. */
  readonly memoryPeak?: { readonly path: string; readonly reset?: string };
}

/** Writing `freeze` stops every process of the instance, `thaw` lets them go on: 0.1 ms each. */
export interface FreezerFile {
  readonly path: string;
  readonly freeze: string;
  readonly thaw: string;
}

export type Outcome = 'ok' | 'error' | 'timeout' | 'oom' | 'exit' | 'signal' | 'cancelled';

/** One invocation's account. */
export interface Account {
  readonly outcome: Outcome;
  readonly start: StartKind;
  /** From the request at the gateway to the last byte of the reply. */
  readonly wall: Millis;
  readonly cpu: Micros;
  readonly throttled: Micros;
  readonly memoryPeak?: Bytes;
  readonly bytesIn: Bytes;
  readonly bytesOut: Bytes;
  /** Other invocations ran in the instance at the same time. */
  readonly shared: boolean;
}

export interface Sample {
  readonly cpu: Micros;
  readonly throttled: Micros;
  readonly memoryPeak?: Bytes | undefined;
}

const buffer = Buffer.allocUnsafeSlow(4096);

/** Reads one instance's counters. Throws the file's error once the cgroup is gone. */
export class AccountReader implements Disposable {
  readonly #files: AccountFiles;
  #cpu = -1;
  #throttled = -1;
  #peak = -1;

  constructor(files: AccountFiles) {
    this.#files = files;
  }

  sample(): Sample {
    const { cpu, throttled, memoryPeak } = this.#files;
    if (this.#cpu < 0) this.#open();
    const cpuText = textOf(this.#cpu);
    const throttledText = this.#throttled === this.#cpu ? cpuText : textOf(this.#throttled);
    return {
      cpu: numberIn(cpuText, cpu.field) / cpu.perMicro,
      throttled: numberIn(throttledText, throttled.field) / throttled.perMicro,
      memoryPeak: memoryPeak && Number(textOf(this.#peak)),
    };
  }

  /** Starts the peak anew. False where it cannot be: then the peak is that of the instance's life. */
  resetPeak(): boolean {
    const reset = this.#files.memoryPeak?.reset;
    if (reset === undefined || this.#peak < 0) return false;
    writeSync(this.#peak, reset, 0);
    return true;
  }

  [Symbol.dispose](): void {
    for (const fd of new Set([this.#cpu, this.#throttled, this.#peak])) if (fd >= 0) closeSync(fd);
    this.#cpu = this.#throttled = this.#peak = -1;
  }

  #open(): void {
    const { cpu, throttled, memoryPeak } = this.#files;
    this.#cpu = openSync(cpu.path, 'r');
    this.#throttled = throttled.path === cpu.path ? this.#cpu : openSync(throttled.path, 'r');
    // v2 resets the peak per open file, so the descriptor that resets must be the one that reads (Linux 6.12).
    if (memoryPeak) this.#peak = openSync(memoryPeak.path, memoryPeak.reset === undefined ? 'r' : 'r+');
  }
}

function textOf(fd: number): string {
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
}

function numberIn(text: string, field: string | undefined): number {
  if (field === undefined) return Number(text);
  const line = `\n${text}`.indexOf(`\n${field} `);
  return line < 0 ? 0 : Number.parseInt(text.slice(line + field.length + 1), 10);
}
