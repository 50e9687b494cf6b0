/** Keeps those who call with the same key at the same revision while traffic is divided. Weighted rendezvous hashing: every
 *  revision draws a number for the key, divided by its weight, and the lowest has it. Every gateway comes to the same choice
 *  without talking; when weights change, only as many keys move as must, and none between revisions whose weights kept
 *  their ratio (Schindelhauer and Schomaker, Weighted Distributed Hash Tables, 2005). */

import { hash } from 'node:crypto';
import { valuesOf } from './policy/fields.ts';

export interface StickyKey {
  readonly in: 'header' | 'cookie';
  readonly name: string;
}

/** @param text of STICKY_PATTERN. */
export function parseSticky(text: string): StickyKey {
  const colon = text.indexOf(':');
  const where = text.slice(0, colon) === 'cookie' ? 'cookie' : 'header';
  const name = text.slice(colon + 1);
  return { in: where, name: where === 'header' ? name.toLowerCase() : name };
}

/** Undefined when the request has none, and any revision will do.
 *  @param fields the lines of its head. */
export function keyOf(fields: string, sticky: StickyKey): string | undefined {
  if (sticky.in === 'header') return valuesOf(fields, sticky.name)[0] || undefined;
  for (const line of valuesOf(fields, 'cookie')) {
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=');
      if (equals > 0 && pair.slice(0, equals).trim() === sticky.name) return pair.slice(equals + 1).trim() || undefined;
    }
  }
  return undefined;
}

interface Target {
  readonly weight: number;
  readonly revision: { readonly id: string };
}

/** Undefined when no target has a weight. */
export function stickTo<T extends Target>(targets: readonly T[], key: string): T | undefined {
  let best: T | undefined;
  let least = Infinity;
  for (const target of targets) {
    if (target.weight <= 0) continue;
    const drawn = hash('sha1', `${target.revision.id}\n${key}`, 'buffer').readUInt32BE(0);
    const score = -Math.log((drawn + 0.5) / 2 ** 32) / target.weight; // Exponential, at a rate of the weight.
    if (score >= least) continue;
    best = target;
    least = score;
  }
  return best;
}
