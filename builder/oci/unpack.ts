/** Unpacks a layer of the store into a directory of its own. The directory appears whole or not at all, and only if the
 *  bytes were those the digest names. Calling it again, or from two places at once, is harmless. Not flushed to the disk:
 *  after a power failure an unpacked layer is worth no more than a cache. */

import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { FnError } from '../../core/errors.ts';
import type { Digest } from '../../core/ids.ts';
import { isRunning } from '../../core/processes.ts';
import { Meter } from './digest.ts';
import { type ExtractLimits, extractTar } from './extract.ts';
import { blobPath, dropCorrupt } from './layout.ts';

/** A base image of several GiB fits; a bomb does not. */
export const LAYER_LIMITS: ExtractLimits = { entries: 500_000, bytes: 16 * 2 ** 30, pathBytes: 1024 };

const unpacking = new Map<string, Promise<void>>();
/** Paths that this process is unpacking to. */
const partials = new Set<string>();

/** @throws FnError image.invalid when the layer is missing, altered, or breaks the rules of extract.ts. */
export async function unpackLayer(
  images: string,
  layer: Digest,
  target: string,
  limits: ExtractLimits = LAYER_LIMITS,
): Promise<void> {
  const directory = resolve(target);
  if (await isDirectory(directory)) return;
  let running = unpacking.get(directory);
  if (!running) {
    running = unpack(images, layer, directory, limits).finally(() => unpacking.delete(directory));
    unpacking.set(directory, running);
  }
  return running;
}

async function unpack(images: string, layer: Digest, directory: string, limits: ExtractLimits): Promise<void> {
  await removeAbandoned(directory);
  const partial = `${directory}.partial-${process.pid}-${randomBytes(4).toString('hex')}`;
  partials.add(partial);
  try {
    await mkdir(partial, { recursive: true, mode: 0o755 });
    await extractChecked(images, layer, partial, limits);
    await rename(partial, directory);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // Another process was faster: the same layer, so the same tree.
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
    throw error;
  } finally {
    partials.delete(partial);
  }
}

async function extractChecked(images: string, layer: Digest, root: string, limits: ExtractLimits): Promise<void> {
  const meter = new Meter();
  const metered = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      meter.update(chunk);
      done(null, chunk);
    },
  });
  const source = createReadStream(blobPath(images, layer), { highWaterMark: 1 << 20 });
  source.on('error', (error) => metered.destroy(error));
  try {
    await extractTar(source.pipe(metered), root, { kind: 'layer', limits });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && (error as NodeJS.ErrnoException).syscall === 'open') {
      throw new FnError('image.invalid', `${layer} is missing from the image store`, { cause: error });
    }
    // A damaged blob is told from a hostile one by its digest, and removed so that it can be made again.
    if (!(await isIntact(images, layer))) throw await dropCorrupt(images, layer);
    throw error;
  } finally {
    source.destroy();
  }
  if (meter.digest() !== layer) throw await dropCorrupt(images, layer);
}

async function isIntact(images: string, layer: Digest): Promise<boolean> {
  const meter = new Meter();
  for await (const chunk of createReadStream(blobPath(images, layer), { highWaterMark: 1 << 20 })) {
    meter.update(chunk as Buffer);
  }
  return meter.digest() === layer;
}

/** What processes that are gone left half-unpacked for this target. */
async function removeAbandoned(directory: string): Promise<void> {
  const parent = dirname(directory);
  const names = await readdir(parent).catch(() => []); // There is no parent yet: mkdir makes it.
  for (const name of names.filter((one) => one.startsWith(`${basename(directory)}.partial-`))) {
    const path = join(parent, name);
    if (isAbandoned(path)) await rm(path, { recursive: true, force: true });
  }
}

/** Of a directory that holds unpacked layers: whether nobody is at work on this one. Pids come again, ours too where it is
 *  the first of a container. */
export function isAbandoned(path: string): boolean {
  const pid = Number.parseInt(/\.partial-(\d+)-[^/]*$/.exec(path)?.[1] ?? '', 10);
  if (Number.isNaN(pid)) return false;
  return pid === process.pid ? !partials.has(path) : !isRunning(pid);
}

async function isDirectory(path: string): Promise<boolean> {
  return lstat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
