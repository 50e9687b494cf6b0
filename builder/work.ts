/** Where builds work: a directory per build below FN_HOME/cache/work, removed at its end. A builder that starts removes
 *  what one that was killed left there. */

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildStore, pruneLayerCache } from './layer-cache.ts';
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
