/** What the invocations of one instance use, from the counters of its cgroup. A sample is taken when one begins and when it
 *  ends. Back to back, the sample that ended one begins the next: the instance did nothing between. Those that overlap, whose
 *  numbers are of all of them anyway, share samples too: at 6 µs each they would cost a busy gateway a quarter of its cpu.
 *  Whether anything ran between or beside is told by the number of slots that all threads have taken of the instance. */

import { type AccountFiles, AccountReader, type Sample } from '../core/account.ts';
import type { Bytes, Micros, Millis } from '../core/units.ts';

export interface Used {
  readonly cpu: Micros;
  readonly throttled: Micros;
  readonly memoryPeak?: Bytes;
  /** Another invocation ran in the instance meanwhile: the numbers are of both. */
  readonly shared: boolean;
}

interface Baseline {
  readonly sample: Sample;
  readonly takenBefore: number;
  readonly wasIdle: boolean;
}

/** The slots of the instance; what the last `take` of this thread found. */
export interface Taken {
  readonly taken: number;
  readonly takenBefore: number;
  readonly wasIdle: boolean;
}

/** How old a sample may be to count as the present: less than what a function could notice of. */
const FRESH: Millis = 0.5;

export class Usage implements Disposable {
  readonly #reader: AccountReader;
  readonly #slots: Taken;
  #last: Sample | undefined;
  #lastAt: Millis = 0;
  #lastTaken = -1;
  #isDisposed = false;

  constructor(files: AccountFiles, slots: Taken) {
    this.#reader = new AccountReader(files);
    this.#slots = slots;
  }

  /** Right after a slot was taken. */
  begin(now: Millis): Baseline | undefined {
    const { takenBefore, wasIdle } = this.#slots;
    const sample = (wasIdle && this.#lastTaken !== takenBefore ? undefined : this.#fresh(now)) ?? this.#read();
    if (!sample || (wasIdle && !this.#resetPeak())) return undefined;
    return { sample, takenBefore, wasIdle };
  }

  /** Undefined when the group is gone.
   *  @param last what its counters said before: then their peak may be that of the instance's life. */
  end(baseline: Baseline, last?: Sample): Used | undefined {
    const { taken } = this.#slots;
    const isShared = !baseline.wasIdle || ((taken - baseline.takenBefore) | 0) !== 1;
    const now = performance.now();
    let sample = isShared ? this.#fresh(now) : undefined;
    if (!sample) {
      sample = this.#read() ?? last;
      if (!sample) return undefined;
      this.#last = sample;
      this.#lastAt = now;
      this.#lastTaken = taken;
    }
    return {
      cpu: Math.round(sample.cpu - baseline.sample.cpu),
      throttled: Math.round(sample.throttled - baseline.sample.throttled),
      ...(sample.memoryPeak !== undefined && { memoryPeak: sample.memoryPeak }),
      shared: isShared,
    };
  }

  /** What is still in flight has no account then: reading on would open the files again, and nobody would close them. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#reader[Symbol.dispose]();
  }

  #fresh(now: Millis): Sample | undefined {
    return now - this.#lastAt < FRESH ? this.#last : undefined;
  }

  #read(): Sample | undefined {
    if (this.#isDisposed) return undefined;
    try {
      return this.#reader.sample();
    } catch {
      return undefined; // The instance has ended and its group with it.
    }
  }

  /** False when the group is gone. */
  #resetPeak(): boolean {
    try {
      this.#reader.resetPeak();
      return true;
    } catch {
      return false;
    }
  }
}

export type { Baseline };
