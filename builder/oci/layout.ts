/** The image store: an OCI image layout, a directory that skopeo, podman and umoci can read. Blobs are named by their
 *  digest and appear whole or not at all: written beside, flushed, renamed. A reader checks what it reads against the name,
 *  so a flipped bit is an error and never an image. */

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import type { Digest } from '../../core/ids.ts';
import type { Bytes } from '../../core/units.ts';
import { digestOf, Meter } from './digest.ts';
import type { Blob } from './types.ts';

const LAYOUT_VERSION = '{"imageLayoutVersion":"1.0.0"}';

export function blobPath(images: string, digest: Digest): string {
  return join(images, 'blobs', 'sha256', digest.slice('sha256:'.length));
}

/** Half-written blobs. Whoever owns the store may empty it when nothing is being written. */
export function partialPath(images: string): string {
  return join(images, '.partial');
}

/** Makes the directory a layout; leaves one that is. */
export async function openLayout(images: string): Promise<void> {
  await mkdir(join(images, 'blobs', 'sha256'), { recursive: true });
  await mkdir(partialPath(images), { recursive: true });
  const marker = join(images, 'oci-layout');
  if (await exists(marker)) return;
  await replaceFile(images, marker, LAYOUT_VERSION);
}

export async function hasBlob(images: string, blob: Blob): Promise<boolean> {
  try {
    const found = await stat(blobPath(images, blob.digest));
    return found.isFile() && found.size === blob.size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** True when it is there, and then no garbage collection takes it before its grace is over. */
export async function keepBlob(images: string, blob: Blob): Promise<boolean> {
  const now = new Date();
  try {
    await utimes(blobPath(images, blob.digest), now, now);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  return hasBlob(images, blob);
}

export async function putBlob(images: string, bytes: Uint8Array): Promise<Blob> {
  const blob: Blob = { digest: digestOf(bytes), size: bytes.byteLength };
  if (await keepBlob(images, blob)) return blob;
  await using writer = await BlobWriter.open(images);
  await writer.write(bytes);
  return await writer.commit(); // Awaited: the writer closes its file when this scope ends.
}

/** The bytes of a small blob, checked against its name.
 *  @throws FnError image.invalid when it is missing, larger than `limit`, or not what its digest says. */
export async function readBlob(images: string, digest: Digest, limit: Bytes): Promise<Buffer> {
  const path = blobPath(images, digest);
  try {
    const { size } = await stat(path);
    if (size > limit) throw new FnError('image.invalid', `${digest} has ${size} bytes; at most ${limit} are read`);
    const bytes = await readFile(path);
    if (digestOf(bytes) !== digest) throw await dropCorrupt(images, digest);
    return bytes;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new FnError('image.invalid', `${digest} is missing from the image store`, { cause });
  }
}

/** Removes a blob that is not what its name says, so that building it again mends the store. Returns the error to throw. */
export async function dropCorrupt(images: string, digest: Digest): Promise<FnError> {
  await rm(blobPath(images, digest), { force: true });
  return new FnError('image.invalid', `${digest} did not hold what its name says; it was removed`);
}

/** Writes a blob whose digest is known only at its end. Disposed before `commit`, it leaves nothing. */
export class BlobWriter implements AsyncDisposable {
  readonly #images: string;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #meter = new Meter();
  #open = true;

  private constructor(images: string, path: string, file: FileHandle) {
    this.#images = images;
    this.#path = path;
    this.#file = file;
  }

  static async open(images: string): Promise<BlobWriter> {
    const path = join(partialPath(images), randomBytes(8).toString('hex'));
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    return new BlobWriter(images, path, await open(path, flags, 0o644));
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#meter.update(chunk);
    for (let done = 0; done < chunk.byteLength;) {
      const { bytesWritten } = await this.#file.write(chunk, done);
      done += bytesWritten;
    }
  }

  async commit(): Promise<Blob> {
    const blob: Blob = { digest: this.#meter.digest(), size: this.#meter.size };
    if (await keepBlob(this.#images, blob)) return blob; // Same content is there: nothing to flush.
    await this.#file.datasync();
    await rename(this.#path, blobPath(this.#images, blob.digest));
    return blob;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}

/** Replaces a file of the layout at once; a reader sees the old or the new. */
export async function replaceFile(images: string, path: string, text: string): Promise<void> {
  const partial = join(partialPath(images), randomBytes(8).toString('hex'));
  try {
    await writeFile(partial, text, { flag: 'wx', flush: true });
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
