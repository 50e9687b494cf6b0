/** A case of the catalogue: what a hostile function tries, what comes of it, and what holds it. docs/abuse.md is made from
 *  these (test/support/doc-tables.ts), so every line of it is a test. */

import type { TestPlatform } from '../../support/platform.ts';
import type { Prober } from '../support/prober.ts';

export interface AbuseCase {
  /** Number in the catalogue, or a number of our own beyond A66. */
  readonly id: string;
  /** What the function does. */
  readonly tried: string;
  /** What it gets, in words. */
  readonly result: string;
  readonly heldBy: string;
}

/** One probe of the prober and exactly what it must report. */
export interface ProbeCase extends AbuseCase {
  readonly probe: string;
  readonly args?: Readonly<Record<string, string | number>>;
  /** As for vitest's toEqual. */
  readonly expected: unknown;
}

/** What a case that is more than one probe plays on. */
export interface Stage {
  readonly platform: TestPlatform;
  readonly prober: Prober;
  /** Another function, which must not suffer. */
  readonly neighbour: Prober;
  /** A prober for one case alone. */
  readonly deploy: (name: string, spec?: string) => Promise<Prober>;
}

export interface PlayedCase extends AbuseCase {
  readonly play: (stage: Stage) => Promise<void>;
}
