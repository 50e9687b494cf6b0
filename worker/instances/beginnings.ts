/** Starts under way that have no instance yet: what is counted against the caps from the moment it is decided. */

import type { RevisionId } from '../../core/ids.ts';

export class Beginnings {
  readonly #counts = new Map<RevisionId, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  get counts(): ReadonlyMap<RevisionId, number> {
    return this.#counts;
  }

  of(revision: RevisionId): number {
    return this.#counts.get(revision) ?? 0;
  }

  /** Counts one more, until what it returns is disposed of; again does no harm. */
  add(revision: RevisionId): Disposable {
    let isCounted = true;
    this.#change(revision, 1);
    return {
      [Symbol.dispose]: () => {
        if (isCounted) this.#change(revision, -1);
        isCounted = false;
      },
    };
  }

  #change(revision: RevisionId, by: 1 | -1): void {
    this.#total += by;
    const count = this.of(revision) + by;
    if (count > 0) this.#counts.set(revision, count);
    else this.#counts.delete(revision);
  }
}
