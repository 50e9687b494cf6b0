/** Which uid range a sandbox has. Ranges are disjoint among living sandboxes, since the kernel couples what shares a uid
 *  (pipe pages, pending signals, keys). The lowest free one is taken, so numbers stay small. */

import { FnError } from '../../core/errors.ts';

/** uids in one range. */
const RANGE = 65_536;

export class UidSlots {
  readonly #base: number;
  readonly #size: number;
  readonly #used = new Set<number>();

  /** @param base first host uid; @param size sandboxes at most. */
  constructor(base: number, size: number) {
    this.#base = base;
    this.#size = size;
  }

  take(): number {
    for (let slot = 0; slot < this.#size; slot++) if (!this.#used.has(slot)) return this.adopt(slot);
    throw new FnError('capacity.node_full', `all ${this.#size} places for instances are taken`, { retryAfterS: 1 });
  }

  adopt(slot: number): number {
    this.#used.add(slot);
    return slot;
  }

  release(slot: number): void {
    this.#used.delete(slot);
  }

  hostId(slot: number): number {
    return this.#base + slot * RANGE;
  }
}
