/** What all gateways report, kept as one LoadWindow per revision. A gateway writes its whole report into one hash field
 *  about once a second; the controller reads the hash as often and takes each report once. */

import type { LoadReport } from '../core/records.ts';
import { type FunctionName, functionOf, type RevisionId } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';
import { type Load, STABLE_WINDOW } from './autoscale.ts';
import { LoadWindow } from './load-window.ts';

/** A gateway that wrote nothing new for so long is gone. */
const FRESH_FOR: Millis = 5000;
/** Then its field is removed from the hash. */
const FORGOTTEN_AFTER: Millis = 60_000;

interface Source {
  /** The report's own time: a new one means a new report. */
  readonly at: Millis;
  readonly seenAt: Millis;
}

interface Entry {
  readonly window: LoadWindow;
  /** When an invocation last began or ended, on our clock. */
  lastLoadAt: Millis;
}

export class LoadBook {
  readonly #sources = new Map<string, Source>();
  readonly #revisions = new Map<string, Entry>();

  /** Takes the reports that are new and returns the functions that have load.
   *  @param now monotonic, as everywhere in this class. */
  record(reports: readonly LoadReport[], now: Millis): Set<FunctionName> {
    const sums = new Map<string, { average: number; peak: number; arrivals: number; idleMs: Millis }>();
    for (const report of reports) {
      if (this.#sources.get(report.gateway)?.at === report.at) continue;
      this.#sources.set(report.gateway, { at: report.at, seenAt: now });
      for (const [id, load] of Object.entries(report.revisions)) {
        const held = sums.get(id);
        sums.set(id, {
          average: (held?.average ?? 0) + (load.average ?? load.inFlight + load.waiting),
          peak: (held?.peak ?? 0) + load.peak,
          arrivals: (held?.arrivals ?? 0) + load.arrivals,
          idleMs: load.inFlight + load.waiting > 0 ? 0 : Math.min(held?.idleMs ?? Infinity, load.idleMs),
        });
      }
    }

    const active = new Set<FunctionName>();
    if (!this.reporting(now)) return active;
    for (const [id, { idleMs, ...sample }] of sums) {
      let entry = this.#revisions.get(id);
      if (!entry) this.#revisions.set(id, (entry = { window: new LoadWindow(), lastLoadAt: -Infinity }));
      entry.window.add(now, sample);
      const lastLoadAt = sample.arrivals > 0 || sample.peak > 0 ? now : now - idleMs;
      entry.lastLoadAt = Math.max(entry.lastLoadAt, lastLoadAt);
      if (lastLoadAt === now) active.add(functionOf(id));
    }
    for (const [id, entry] of this.#revisions) {
      if (sums.has(id)) continue;
      entry.window.add(now, { average: 0, peak: 0, arrivals: 0 });
      // Idleness is then told by the instances; a window of zeros says nothing.
      if (now - entry.lastLoadAt > 2 * STABLE_WINDOW) this.#revisions.delete(id);
    }
    return active;
  }

  reporting(now: Millis): boolean {
    return [...this.#sources.values()].some((source) => now - source.seenAt <= FRESH_FOR);
  }

  /** Gateways that have been silent for a minute. */
  dead(now: Millis): string[] {
    const dead = [...this.#sources].filter(([, source]) => now - source.seenAt > FORGOTTEN_AFTER).map(([id]) => id);
    for (const id of dead) this.#sources.delete(id);
    return dead;
  }

  /** The load of these revisions together.
   *  @param idle scale.idle of the function; @param readySince how long ago their newest instance became ready. */
  read(revisions: Iterable<RevisionId>, now: Millis, idle: Millis, readySince: Millis): Omit<Load, 'backlog'> {
    const load = { stable: 0, panic: 0, peak: 0, arrivals: 0, idleFor: readySince };
    for (const id of revisions) {
      const entry = this.#revisions.get(id);
      if (!entry) continue;
      const { stable, panic, peak, arrivals } = entry.window.read(now, Math.min(idle, STABLE_WINDOW));
      load.stable += stable;
      load.panic += panic;
      load.peak += peak;
      load.arrivals += arrivals;
      load.idleFor = Math.min(load.idleFor, now - entry.lastLoadAt);
    }
    return { reporting: this.reporting(now), ...load };
  }
}
