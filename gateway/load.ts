/** What this gateway knows of each function's load, told to the controller once a second in the background. Counting costs
 *  a request a few additions; only functions with instances or requests are reported. */

import type { FunctionName } from '../core/ids.ts';
import type { LoadReport } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

export class FunctionLoad {
  readonly name: FunctionName;
  inFlight = 0;
  waiting = 0;
  instances = 0;
  peak = 0;
  arrivals = 0;
  lastActive: Millis;

  constructor(name: FunctionName, now: Millis) {
    this.name = name;
    this.lastActive = now;
  }

  arrived(now: Millis): void {
    this.arrivals++;
    this.lastActive = now;
  }

  began(): void {
    this.inFlight++;
    this.sample();
  }

  ended(now: Millis): void {
    this.inFlight--;
    this.lastActive = now;
  }

  sample(): void {
    const busy = this.inFlight + this.waiting;
    if (busy > this.peak) this.peak = busy;
  }
}

export class LoadTable {
  readonly #functions = new Map<FunctionName, FunctionLoad>();

  of(name: FunctionName, now: Millis): FunctionLoad {
    let load = this.#functions.get(name);
    if (!load) this.#functions.set(name, (load = new FunctionLoad(name, now)));
    return load;
  }

  totals(): { inFlight: number; waiting: number } {
    let inFlight = 0;
    let waiting = 0;
    for (const load of this.#functions.values()) {
      inFlight += load.inFlight;
      waiting += load.waiting;
    }
    return { inFlight, waiting };
  }

  /** The report since the last one. Functions without instances, requests or arrivals are forgotten. */
  report(gateway: string, wallNow: Millis, now: Millis): LoadReport {
    const functions: Record<string, LoadReport['functions'][string]> = {};
    for (const [name, load] of this.#functions) {
      const { inFlight, waiting, peak, arrivals, instances } = load;
      if (inFlight + waiting + arrivals + instances === 0) continue;
      const idleMs = inFlight + waiting > 0 ? 0 : Math.max(0, Math.round(now - load.lastActive));
      functions[name] = { inFlight, waiting, peak: Math.max(peak, inFlight + waiting), arrivals, idleMs };
      load.peak = 0;
      load.arrivals = 0;
    }
    return { gateway, at: wallNow, functions };
  }

  /** Drops functions that no longer exist. */
  prune(exists: (name: FunctionName) => boolean): void {
    for (const [name, load] of this.#functions) {
      if (!exists(name) && load.inFlight + load.waiting + load.instances === 0) this.#functions.delete(name);
    }
  }
}
