/** What the invocations of one instance use, from the counters of its cgroup. A sample is taken when one begins and when it
 *  ends. Back to back, the sample that ended one begins the next: the instance did nothing between. */

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
  readonly overlaps: number;
}

/** How old a sample may be to count as the present: less than what a function could notice of. */
const FRESH: Millis = 0.5;

export class Usage implements Disposable {
  readonly #reader: AccountReader;
  #last: Sample | undefined;
  #lastAt: Millis = 0;
  #overlaps = 0;
  #isDisposed = false;

  constructor(files: AccountFiles) {
    this.#reader = new AccountReader(files);
  }

  /** @param inFlight invocations in the instance, this one counted. */
  begin(now: Millis, inFlight: number): Baseline | undefined {
    if (inFlight > 1) this.#overlaps++;
    const isAlone = inFlight === 1;
    const sample = this.#last && now - this.#lastAt < FRESH ? this.#last : this.#read();
    if (!sample || (isAlone && !this.#resetPeak())) return undefined;
    return { sample, overlaps: this.#overlaps - (isAlone ? 0 : 1) };
  }

  /** Undefined when the group is gone. */
  end(baseline: Baseline): Used | undefined {
    const sample = this.#read();
    if (!sample) return undefined;
    this.#last = sample;
    this.#lastAt = performance.now();
    return {
      cpu: Math.round(sample.cpu - baseline.sample.cpu),
      throttled: Math.round(sample.throttled - baseline.sample.throttled),
      ...(sample.memoryPeak !== undefined && { memoryPeak: sample.memoryPeak }),
      shared: this.#overlaps !== baseline.overlaps,
    };
  }

  /** What is still in flight has no account then: reading on would open the files again, and nobody would close them. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#reader[Symbol.dispose]();
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
