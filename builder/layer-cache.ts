/** Layers that cost seconds to make (base, dependencies) are made once per set of inputs. A record beside the store says
 *  which layer a key led to; it counts only while the layer is still there. Callers that want the same key at the same time
 *  share one making. */

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parseDigest } from '../core/ids.ts';
import { hasBlob, keepBlob } from './oci/layout.ts';
import type { Layer } from './oci/types.ts';

/** Where a build puts what it makes. */
export interface BuildStore {
  /** The image store, FN_HOME/images. */
  readonly images: string;
  /** FN_HOME/cache. */
  readonly cache: string;
}

export interface BuiltLayer extends Layer {
  /** Nothing had to be made. */
  readonly cached: boolean;
}

const digest = z.string().transform((text, context) => {
  const parsed = parseDigest(text);
  if (parsed) return parsed;
  context.addIssue({ code: 'custom', message: 'not a digest' });
  return z.NEVER;
});
const recordSchema = z.object({ digest, size: z.int().min(0), diffId: digest, kind: z.string() });

const making = new Map<string, Promise<Layer>>();

/** @param inputs everything the layer depends on; two equal values mean the same layer. */
export async function cachedLayer(
  { images, cache }: BuildStore,
  kind: string,
  inputs: unknown,
  make: () => Promise<Layer>,
): Promise<BuiltLayer> {
  const key = createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
  const path = join(recordsOf(cache), `${kind}-${key}.json`);
  const known = await read(path);
  if (known && (await keepBlob(images, known))) return { ...known, cached: true };

  const shared = making.get(path);
  if (shared) {
    const layer = await shared.catch(() => undefined); // Its maker was told; we may be luckier, or not be cancelled.
    return layer ? { ...layer, cached: true } : cachedLayer({ images, cache }, kind, inputs, make);
  }
  const made = make();
  making.set(path, made);
  try {
    const layer = await made;
    await write(path, layer);
    return { ...layer, cached: false };
  } finally {
    making.delete(path);
  }
}

/** Forgets records whose layer was collected. */
export async function pruneLayerCache({ images, cache }: BuildStore): Promise<void> {
  const directory = recordsOf(cache);
  const names = await readdir(directory).catch(() => []); // Nothing was ever cached.
  for (const name of names) {
    const known = await read(join(directory, name));
    if (!known || !(await hasBlob(images, known))) await rm(join(directory, name), { force: true });
  }
}

function recordsOf(cache: string): string {
  return join(cache, 'layers');
}

/** A record that cannot be read is one that is not there. */
async function read(path: string): Promise<Layer | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

async function write(path: string, layer: Layer): Promise<void> {
  const partial = `${path}.${randomBytes(4).toString('hex')}`;
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(partial, JSON.stringify(layer));
  await rename(partial, path);
}
