/** What all gateways report, kept as one LoadWindow per function. A gateway writes its whole report into one hash field
 *  about once a second; the controller reads the hash as often and takes each report once. */

import type { LoadReport } from '../core/records.ts';
import type { FunctionName } from '../core/ids.ts';
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
  readonly #functions = new Map<string, Entry>();

  /** Takes the reports that are new and returns the functions that have load.
   *  @param now monotonic, as everywhere in this class. */
  record(reports: readonly LoadReport[], now: Millis): Set<FunctionName> {
    const sums = new Map<string, { average: number; peak: number; arrivals: number; idleMs: Millis }>();
    for (const report of reports) {
      if (this.#sources.get(report.gateway)?.at === report.at) continue;
      this.#sources.set(report.gateway, { at: report.at, seenAt: now });
      for (const [name, load] of Object.entries(report.functions)) {
        const held = sums.get(name);
        sums.set(name, {
          average: (held?.average ?? 0) + (load.average ?? load.inFlight + load.waiting),
          peak: (held?.peak ?? 0) + load.peak,
          arrivals: (held?.arrivals ?? 0) + load.arrivals,
          idleMs: load.inFlight + load.waiting > 0 ? 0 : Math.min(held?.idleMs ?? Infinity, load.idleMs),
        });
      }
    }

    const active = new Set<FunctionName>();
    if (!this.reporting(now)) return active;
    for (const [name, { idleMs, ...sample }] of sums) {
      let entry = this.#functions.get(name);
      if (!entry) this.#functions.set(name, (entry = { window: new LoadWindow(), lastLoadAt: -Infinity }));
      entry.window.add(now, sample);
      const lastLoadAt = sample.arrivals > 0 || sample.peak > 0 ? now : now - idleMs;
      entry.lastLoadAt = Math.max(entry.lastLoadAt, lastLoadAt);
      if (lastLoadAt === now) active.add(name as FunctionName);
    }
    for (const [name, entry] of this.#functions) {
      if (sums.has(name)) continue;
      entry.window.add(now, { average: 0, peak: 0, arrivals: 0 });
      // Idleness is then told by the instances; a window of zeros says nothing.
      if (now - entry.lastLoadAt > 2 * STABLE_WINDOW) this.#functions.delete(name);
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

  /** @param idle scale.idle of the function; @param readySince how long ago its newest instance became ready. */
  read(name: FunctionName, now: Millis, idle: Millis, readySince: Millis): Omit<Load, 'backlog'> {
    const entry = this.#functions.get(name);
    const window = entry?.window.read(now, Math.min(idle, STABLE_WINDOW));
    return {
      reporting: this.reporting(now),
      stable: window?.stable ?? 0,
      panic: window?.panic ?? 0,
      peak: window?.peak ?? 0,
      arrivals: window?.arrivals ?? 0,
      idleFor: Math.min(readySince, entry ? now - entry.lastLoadAt : Infinity),
    };
  }
}
