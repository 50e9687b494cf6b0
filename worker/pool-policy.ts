/** How many warm sandboxes to keep of each class: never fewer than the minimum, as many as its busiest moments of late took,
 *  never more than its functions could use, and all classes together within a memory ceiling. Pure: times come in. */

import { egressKey } from '../core/egress.ts';
import type { Bytes, Millis } from '../core/units.ts';
import type { SandboxClass } from './sandbox/sandbox.ts';

/** A live revision's wish: its class, and how many instances it may ever have. */
export interface ClassDemand {
  readonly class: SandboxClass;
  readonly max: number;
}

export interface PoolLimits {
  /** Of each class; 0 turns the pool off. */
  readonly minimum: number;
  /** The most that idle sandboxes of all classes may hold. */
  readonly ceiling: Bytes;
}

/** What an idle sandbox counts for: more than the 10 MiB it holds. */
const IDLE_SANDBOX: Bytes = 16 * 2 ** 20;
/** The pool has to last about so long without being refilled: one sandbox takes 0.1 s, and yields to real work. */
const SPAN: Millis = 2000;
/** A peak is forgotten after so many spans: five minutes. */
const SPANS = 150;

export const keyOf = ({ rootfs, memory, egress }: SandboxClass): string => `${memory} ${rootfs} ${egressKey(egress)}`;

/** Starts that wanted a warm sandbox of one class, counted in spans. Those that found none count too. */
export class ClaimCount {
  readonly #spans = new Map<number, number>();

  add(now: Millis): void {
    const span = Math.floor(now / SPAN);
    this.#spans.set(span, (this.#spans.get(span) ?? 0) + 1);
    this.#forget(span);
  }

  /** The most within one span of the last five minutes. */
  peak(now: Millis): number {
    this.#forget(Math.floor(now / SPAN));
    return Math.max(0, ...this.#spans.values());
  }

  #forget(span: number): void {
    for (const old of this.#spans.keys()) if (old <= span - SPANS) this.#spans.delete(old);
  }
}

/** Sandboxes to keep, by class key. Where the ceiling does not leave enough for all, every class first gets its minimum, the
 *  ones with the most functions first, then the rest goes to those that want the most.
 *  @param peaks by class key */
export function poolTargets(
  demands: readonly ClassDemand[],
  peaks: ReadonlyMap<string, number>,
  { minimum, ceiling }: PoolLimits,
): Map<string, number> {
  const usable = new Map<string, number>();
  for (const demand of demands) {
    const key = keyOf(demand.class);
    usable.set(key, (usable.get(key) ?? 0) + demand.max);
  }
  const targets = new Map<string, number>();
  let left = Math.floor(ceiling / IDLE_SANDBOX);
  const give = (wanted: (key: string) => number): void => {
    const wishes = [...usable].map(([key, most]) => ({ key, count: Math.min(most, wanted(key)) }));
    for (const { key, count } of wishes.sort((a, b) => b.count - a.count)) {
      const given = targets.get(key) ?? 0;
      const more = Math.min(Math.max(0, count - given), left);
      targets.set(key, given + more);
      left -= more;
    }
  };
  give(() => minimum);
  if (minimum > 0) give((key) => peaks.get(key) ?? 0);
  return targets;
}
