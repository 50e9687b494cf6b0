/** Starts under way that have no record yet, as the workers report them: whoever asked for those (most often a gateway) need not
 *  be seconded. A report is a moment old, so the records that were made since are taken off it. */

import type { NodeId, RevisionId } from '../core/ids.ts';
import type { BeginningsReport, InstanceRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

/** A worker that has starts under way reports them anew several times a second. */
const FRESH_FOR: Millis = 2500;

interface Seen extends BeginningsReport {
  /** On our clock. */
  readonly seenAt: Millis;
}

export class BeginningsBook {
  #reports: ReadonlyMap<NodeId, Seen> = new Map();

  /** Takes all there are. @param now monotonic, as everywhere in this class. */
  record(reports: ReadonlyMap<NodeId, BeginningsReport>, now: Millis): void {
    const seen = [...reports].map(([node, report]): [NodeId, Seen] => {
      const held = this.#reports.get(node);
      return [node, held?.at === report.at ? held : { ...report, seenAt: now }];
    });
    this.#reports = new Map(seen);
  }

  /** The node of each start of the revision. */
  of(revision: RevisionId, instances: readonly InstanceRecord[], now: Millis): NodeId[] {
    return [...this.#reports].flatMap(([node, { at, seenAt, revisions }]) => {
      if (now - seenAt > FRESH_FOR) return [];
      const recorded = instances.filter(
        (one) => one.revision === revision && one.node === node && one.createdAt >= at,
      ).length;
      return Array<NodeId>(Math.max(0, (revisions[revision] ?? 0) - recorded)).fill(node);
    });
  }
}
