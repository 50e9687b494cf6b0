/** What both drivers do alike: names, listing, removing. */

import { join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import { childrenOf, removeOne } from './tree.ts';

/** A group's name is a directory's name and part of a path that root writes to: nothing but plain names. */
const ID_PATTERN = /^[a-z0-9][a-z0-9_.-]{0,99}$/i;

export function checkId(id: string): string {
  if (!ID_PATTERN.test(id)) throw new FnError('internal', `"${id}" cannot name a cgroup`);
  return id;
}

/** Every name below any of the parents, each once. */
export function idsBelow(parents: readonly string[]): string[] {
  return [...new Set(parents.flatMap(childrenOf))].sort();
}

export async function removeParents(parents: readonly string[]): Promise<void> {
  const [left] = idsBelow(parents);
  if (left !== undefined) throw new FnError('internal', `cgroup ${join(parents[0] ?? '', left)} is still there`);
  for (const parent of parents) removeOne(parent);
}
