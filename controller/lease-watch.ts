/** Which nodes are gone. A lease that ran out by the wall clock is not enough: the clock may jump, and after a Redis outage
 *  every lease has run out until the workers have written again. So a node is lost only when, besides, its record has not
 *  been rewritten for GRACE while we could see that it was not. */

import type { NodeId } from '../core/ids.ts';
import type { NodeRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

const GRACE: Millis = 15_000;

export class LeaseWatch {
  /** What the record said, and since when (monotonic) it has said so. `undefined`: there is no record. */
  readonly #seen = new Map<NodeId, { expiresAt: Millis | undefined; since: Millis }>();

  /** @param nodes every node there is a record of; @param referred nodes that instances name. */
  observe(nodes: readonly NodeRecord[], referred: Iterable<NodeId>, monotonic: Millis): void {
    const leases = new Map<NodeId, Millis | undefined>();
    for (const id of referred) leases.set(id, undefined);
    for (const node of nodes) leases.set(node.id, node.expiresAt);
    for (const [id, expiresAt] of leases) {
      const seen = this.#seen.get(id);
      if (!seen || seen.expiresAt !== expiresAt) this.#seen.set(id, { expiresAt, since: monotonic });
    }
    for (const id of this.#seen.keys()) if (!leases.has(id)) this.#seen.delete(id);
  }

  /** The store could not be read: nothing seen before counts any more. */
  interrupted(): void {
    this.#seen.clear();
  }

  lost(now: Millis, monotonic: Millis): Set<NodeId> {
    const lost = [...this.#seen].filter(
      ([, { expiresAt, since }]) => (expiresAt === undefined || expiresAt < now) && monotonic - since >= GRACE,
    );
    return new Set(lost.map(([id]) => id));
  }
}
