/** index.json: which images the store holds, and the collection of what no image needs. One process writes it (the builder),
 *  and in it one change at a time; readers may read at any moment. A blob younger than the grace is never collected: it may
 *  belong to an image that is still being made. */

import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FnError } from '../../core/errors.ts';
import { type Digest, parseDigest } from '../../core/ids.ts';
import type { Bytes, Millis } from '../../core/units.ts';
import { readManifest } from './manifest.ts';
import { blobPath, hasBlob, openLayout, replaceFile } from './layout.ts';
import { type Blob, type Descriptor, type ImageIndex, indexSchema, MEDIA_TYPE, REF_NAME } from './types.ts';

/** Longer than any build. */
const GRACE: Millis = 3_600_000;

/** Enters an image under a name (`skopeo inspect oci:<images>:<name>`); a name means the image it was given last.
 *  @throws FnError image.invalid when a blob of the image is missing. */
export async function addImage(images: string, name: string, manifest: Blob): Promise<void> {
  const { config, layers } = await readManifest(images, manifest.digest);
  for (const blob of [config.blob, ...layers]) {
    if (!(await hasBlob(images, blob))) throw new FnError('image.invalid', `${blob.digest} is missing from the store`);
  }
  const entry: Descriptor = {
    mediaType: MEDIA_TYPE.manifest,
    digest: manifest.digest,
    size: manifest.size,
    annotations: { [REF_NAME]: name },
  };
  await change(images, (entries) => {
    const same = entries.find((one) => one.digest === entry.digest && one.annotations?.[REF_NAME] === name);
    return same ? entries : [...entries.filter((one) => one.annotations?.[REF_NAME] !== name), entry];
  });
}

export interface ImageEntry extends Blob {
  readonly name: string;
}

export async function listImages(images: string): Promise<ImageEntry[]> {
  const { manifests } = await readIndex(images);
  return manifests.map(({ digest, size, annotations }) => ({ digest, size, name: annotations?.[REF_NAME] ?? '' }));
}

/** Takes the image out of the index; its blobs go with the next collection. False when it was not there. */
export async function removeImage(images: string, digest: Digest): Promise<boolean> {
  let found = false;
  await change(images, (entries) => {
    const rest = entries.filter((one) => one.digest !== digest);
    found = rest.length < entries.length;
    return found ? rest : entries;
  });
  return found;
}

export interface Collected {
  readonly blobs: number;
  readonly bytes: Bytes;
}

/** Removes every image that is not in `keep` and every blob that no kept image needs, unless younger than the grace. */
export function collectGarbage(
  images: string,
  keep: ReadonlySet<Digest>,
  options: { readonly now?: Millis; readonly grace?: Millis } = {},
): Promise<Collected> {
  const oldest = (options.now ?? Date.now()) - (options.grace ?? GRACE);
  return exclusively(images, async () => {
    const index = await readIndex(images);
    const wanted: Descriptor[] = [];
    for (const entry of index.manifests) {
      const age = await stat(blobPath(images, entry.digest)).catch(() => undefined);
      if (age && (keep.has(entry.digest) || age.mtimeMs >= oldest)) wanted.push(entry);
    }
    if (wanted.length < index.manifests.length) await writeIndex(images, { ...index, manifests: wanted });

    const needed = new Set<Digest>();
    for (const digest of new Set([...keep, ...wanted.map((entry) => entry.digest)])) {
      needed.add(digest);
      for (const blob of await blobsOf(images, digest)) needed.add(blob.digest);
    }
    return sweep(images, needed, oldest);
  });
}

async function sweep(images: string, needed: ReadonlySet<Digest>, oldest: Millis): Promise<Collected> {
  let blobs = 0;
  let bytes: Bytes = 0;
  for (const name of await readdir(join(images, 'blobs', 'sha256'))) {
    const digest = parseDigest(`sha256:${name}`);
    if (digest && needed.has(digest)) continue;
    const path = join(images, 'blobs', 'sha256', name);
    const file = await stat(path);
    if (file.mtimeMs >= oldest) continue;
    await rm(path, { force: true });
    blobs++;
    bytes += file.size;
  }
  return { blobs, bytes };
}

/** What an image needs; nothing when it cannot be read, for then it cannot be run either. */
async function blobsOf(images: string, digest: Digest): Promise<Blob[]> {
  try {
    const { config, layers } = await readManifest(images, digest);
    return [config.blob, ...layers];
  } catch (error) {
    if (error instanceof FnError && error.code === 'image.invalid') return [];
    throw error;
  }
}

async function readIndex(images: string): Promise<ImageIndex> {
  let text: string;
  try {
    text = await readFile(join(images, 'index.json'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { schemaVersion: 2, mediaType: MEDIA_TYPE.index, manifests: [] };
  }
  try {
    return indexSchema.parse(JSON.parse(text));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new FnError('image.invalid', `index.json of the image store cannot be read: ${why}`, { cause });
  }
}

async function writeIndex(images: string, index: ImageIndex): Promise<void> {
  await openLayout(images);
  await replaceFile(images, join(images, 'index.json'), `${JSON.stringify(index)}\n`);
}

function change(images: string, edit: (entries: Descriptor[]) => Descriptor[]): Promise<void> {
  return exclusively(images, async () => {
    const index = await readIndex(images);
    const manifests = edit(index.manifests);
    if (manifests !== index.manifests) await writeIndex(images, { ...index, manifests });
  });
}

const tails = new Map<string, Promise<unknown>>();

/** One change of a store at a time in this process. */
async function exclusively<T>(images: string, action: () => Promise<T>): Promise<T> {
  const before = tails.get(images);
  const mine = (async () => {
    await before?.catch(() => {}); // Its own caller hears of it.
    return action();
  })();
  tails.set(images, mine);
  try {
    return await mine;
  } finally {
    if (tails.get(images) === mine) tails.delete(images);
  }
}
