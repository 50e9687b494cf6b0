/** What this gateway knows of each revision's load, told to the controller once a second in the background. Counting costs
 *  a request a few additions; only revisions with instances or requests are reported. */

import type { RevisionId } from '../core/ids.ts';
import type { LoadReport } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

export class RevisionLoad {
  inFlight = 0;
  waiting = 0;
  instances = 0;
  peak = 0;
  arrivals = 0;
  lastActive: Millis;

  constructor(now: Millis) {
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
  readonly #revisions = new Map<RevisionId, RevisionLoad>();

  of(id: RevisionId, now: Millis): RevisionLoad {
    let load = this.#revisions.get(id);
    if (!load) this.#revisions.set(id, (load = new RevisionLoad(now)));
    return load;
  }

  totals(): { inFlight: number; waiting: number } {
    let inFlight = 0;
    let waiting = 0;
    for (const load of this.#revisions.values()) {
      inFlight += load.inFlight;
      waiting += load.waiting;
    }
    return { inFlight, waiting };
  }

  /** The report since the last one. Those without instances, requests or arrivals are left out. */
  report(gateway: string, wallNow: Millis, now: Millis): LoadReport {
    const revisions: Record<string, LoadReport['revisions'][string]> = {};
    for (const [id, load] of this.#revisions) {
      const { inFlight, waiting, peak, arrivals, instances } = load;
      if (inFlight + waiting + arrivals + instances === 0) continue;
      const idleMs = inFlight + waiting > 0 ? 0 : Math.max(0, Math.round(now - load.lastActive));
      revisions[id] = { inFlight, waiting, peak: Math.max(peak, inFlight + waiting), arrivals, idleMs };
      load.peak = 0;
      load.arrivals = 0;
    }
    return { gateway, at: wallNow, revisions };
  }

  /** Drops revisions that no request can reach any more. */
  prune(isReachable: (id: RevisionId) => boolean): void {
    for (const [id, load] of this.#revisions) {
      if (!isReachable(id) && load.inFlight + load.waiting + load.instances === 0) this.#revisions.delete(id);
    }
  }
}
