/** What this gateway knows of each revision's load, told to the controller once a second in the background. Counting costs
 *  a request a few additions; only revisions with instances or requests are reported.
 *
 *  How many wait for a function and are busy in a revision is counted over all threads of the gateway, so that the bound of the
 *  waiting room and the peak are exact; the rest is each thread's own, and `mergeReports` puts it together. */

import { type FunctionName, functionOf, type RevisionId } from '../core/ids.ts';
import type { LoadReport, RevisionRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';
import { Hall, type WaitingLimits } from './slots/hall.ts';
import type { Rows } from './slots/rows.ts';
import type { ThreadFacts } from './slots/thread-facts.ts';

type Reported = LoadReport['revisions'][string];

export class RevisionLoad implements Disposable {
  readonly #rows: Rows;
  readonly #hall: Hall;
  readonly #facts: ThreadFacts;
  /** Where it is counted how many wait for the function. */
  readonly #waitingAt: number;
  /** Where it is counted how many wait for the revision or are in flight. */
  readonly #busyAt: number;
  inFlight = 0;
  waiting = 0;
  instances = 0;
  /** That refer to this. */
  groups = 0;
  arrivals = 0;
  lastActive: Millis;
  #peak = 0;
  /** Milliseconds spent by requests, in flight or waiting, up to `#areaAt`. */
  #area = 0;
  #areaAt: Millis;
  #reportedAt: Millis;

  constructor({ id, function: name }: RevisionRecord, rows: Rows, hall: Hall, facts: ThreadFacts, now: Millis) {
    this.#rows = rows;
    this.#hall = hall;
    this.#facts = facts;
    this.#waitingAt = rows.open(`waiting for ${name}`).at;
    this.#busyAt = rows.open(`busy in ${id}`).at;
    this.lastActive = now;
    this.#areaAt = now;
    this.#reportedAt = now;
  }

  arrived(now: Millis): void {
    this.arrivals++;
    this.lastActive = now;
  }

  began(now: Millis): void {
    this.#change(now, 1);
    this.inFlight++;
    this.#facts.inFlight(1);
  }

  ended(now: Millis): void {
    this.#change(now, -1);
    this.inFlight--;
    this.#facts.inFlight(-1);
    this.lastActive = now;
  }

  /** Enters the function's waiting room; false when there is no place in it. */
  wait(now: Millis): boolean {
    if (!this.#hall.enter(this.#waitingAt)) return false;
    this.#change(now, 1);
    this.waiting++;
    this.#facts.waiting(1);
    return true;
  }

  /** Leaves it. */
  waited(now: Millis): void {
    this.#hall.leave(this.#waitingAt);
    this.#change(now, -1);
    this.waiting--;
    this.#facts.waiting(-1);
  }

  /** An instance more, or one less. */
  instance(by: 1 | -1): void {
    this.instances += by;
    this.#facts.instances(by);
  }

  /** What happened since the last report; undefined when there is nothing to say. */
  report(now: Millis): Reported | undefined {
    const { inFlight, waiting, arrivals } = this;
    this.#settle(now);
    const took = now - this.#reportedAt;
    const average = took > 0 ? this.#area / took : inFlight + waiting;
    const peak = Math.max(this.#peak, inFlight + waiting);
    this.#reportedAt = now;
    this.#area = 0;
    this.#peak = 0;
    this.arrivals = 0;
    if (inFlight + waiting + arrivals + peak + this.instances === 0) return undefined;
    const idleMs = inFlight + waiting > 0 ? 0 : Math.max(0, Math.round(now - this.lastActive));
    return { inFlight, waiting, average: Math.round(average * 1000) / 1000, peak, arrivals, idleMs };
  }

  [Symbol.dispose](): void {
    this.#rows.close(this.#waitingAt);
    this.#rows.close(this.#busyAt);
  }

  #change(now: Millis, by: 1 | -1): void {
    this.#settle(now);
    const busy = Atomics.add(this.#rows.cells, this.#busyAt, by) + by;
    if (busy > this.#peak) this.#peak = busy;
  }

  #settle(now: Millis): void {
    this.#area += (this.inFlight + this.waiting) * (now - this.#areaAt);
    this.#areaAt = now;
  }
}

export class LoadTable {
  readonly #rows: Rows;
  readonly #hall: Hall;
  readonly #facts: ThreadFacts;
  readonly #revisions = new Map<RevisionId, RevisionLoad>();

  constructor(rows: Rows, limits: WaitingLimits, facts: ThreadFacts) {
    this.#rows = rows;
    this.#facts = facts;
    this.#hall = new Hall(rows, limits);
  }

  of(revision: RevisionRecord, now: Millis): RevisionLoad {
    let load = this.#revisions.get(revision.id);
    if (!load) {
      load = new RevisionLoad(revision, this.#rows, this.#hall, this.#facts, now);
      this.#revisions.set(revision.id, load);
    }
    return load;
  }

  /** By function, those that have any. */
  busy(): Map<FunctionName, { inFlight: number; waiting: number }> {
    const sums = new Map<FunctionName, { inFlight: number; waiting: number }>();
    for (const [id, { inFlight, waiting }] of this.#revisions) {
      if (inFlight + waiting === 0) continue;
      const name = functionOf(id);
      const sum = sums.get(name) ?? { inFlight: 0, waiting: 0 };
      sums.set(name, { inFlight: sum.inFlight + inFlight, waiting: sum.waiting + waiting });
    }
    return sums;
  }

  /** The report since the last one. */
  report(gateway: string, wallNow: Millis, now: Millis): LoadReport {
    const revisions: Record<string, Reported> = {};
    for (const [id, load] of this.#revisions) {
      const reported = load.report(now);
      if (reported) revisions[id] = reported;
    }
    return { gateway, at: wallNow, revisions };
  }

  /** Drops revisions that no request can reach any more. */
  prune(isReachable: (id: RevisionId) => boolean): void {
    for (const [id, load] of this.#revisions) {
      if (isReachable(id) || load.inFlight + load.waiting + load.instances + load.groups > 0) continue;
      load[Symbol.dispose]();
      this.#revisions.delete(id);
    }
  }
}

/** The report of a gateway from those of its threads. */
export function mergeReports([first, ...others]: readonly LoadReport[]): LoadReport {
  const revisions: Record<string, Reported> = { ...first?.revisions };
  for (const [id, load] of others.flatMap((report) => Object.entries(report.revisions))) {
    const sum = revisions[id];
    if (!sum) revisions[id] = load;
    else {
      const inFlight = sum.inFlight + load.inFlight;
      const waiting = sum.waiting + load.waiting;
      revisions[id] = {
        inFlight,
        waiting,
        average: (sum.average ?? 0) + (load.average ?? 0),
        peak: Math.max(sum.peak, load.peak, inFlight + waiting), // Each has seen the count of all.
        arrivals: sum.arrivals + load.arrivals,
        idleMs: Math.min(sum.idleMs, load.idleMs),
      };
    }
  }
  return { gateway: first?.gateway ?? '', at: first?.at ?? 0, revisions };
}
