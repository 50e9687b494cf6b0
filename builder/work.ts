/** The builder's housekeeping. Builds work in a directory each below FN_HOME/cache/work, removed at its end; a builder that
 *  starts removes what one that was killed left there. Images go when no revision refers to them any more. */

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../core/ids.ts';
import type { Store } from '../core/store/store.ts';
import type { Millis } from '../core/units.ts';
import { type BuildStore, pruneLayerCache } from './layer-cache.ts';
import { collectGarbage, type Collected } from './oci/index-file.ts';
import { openLayout, partialPath } from './oci/layout.ts';

/** Makes it when it is not there. */
export async function workDirectory({ cache }: BuildStore): Promise<string> {
  const directory = join(cache, 'work');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** Brings the store into a state to build in. Only while no build runs. */
export async function prepareStore(store: BuildStore): Promise<void> {
  await rm(join(store.cache, 'work'), { recursive: true, force: true });
  await rm(partialPath(store.images), { recursive: true, force: true });
  await openLayout(store.images);
  await pruneLayerCache(store);
}

/** Removes images that belong to no revision, and layers that belong to no image; the cache forgets what is gone. */
export async function collectImages(records: Store, store: BuildStore, now?: Millis): Promise<Collected> {
  const revisions = await records.list('revision');
  const keep = new Set<Digest>(revisions.map(({ value }) => value.image));
  const collected = await collectGarbage(store.images, keep, now === undefined ? {} : { now });
  await pruneLayerCache(store);
  return collected;
}
