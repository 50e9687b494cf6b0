/** Writes a layer: a tar archive made, hashed and stored in one pass. The same files give the same bytes on every machine:
 *  names sorted, time 0, owner 0, mode 0644 or 0755, no compression. Names that ustar cannot hold go into PAX records. */

import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { FnError } from '../../core/errors.ts';
import type { Bytes } from '../../core/units.ts';
import { BlobWriter } from './layout.ts';
import { linkStaysInside } from './links.ts';
import type { Layer } from './types.ts';

/** What a layer is made from. Paths are relative to the root of the image, without a leading slash. Directories above an
 *  entry need not be listed. */
export type LayerEntry =
  | { readonly type: 'directory'; readonly path: string; readonly mode?: 0o755 | 0o1777 }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string }
  | { readonly type: 'file'; readonly path: string; readonly executable: boolean; readonly content: Content };
/** Bytes, or the file on this host that holds them, but for a change. */
export type Content = Uint8Array | HostFile;

export interface HostFile {
  readonly file: string;
  readonly size: Bytes;
  readonly change?: Change | undefined;
}

/** Other bytes at a place in a file. */
export interface Change {
  readonly at: Bytes;
  readonly bytes: Uint8Array;
}

/** Larger files are streamed. */
const BUFFERED: Bytes = 1 << 20;
/** Files read ahead of the one being written. */
const READ_AHEAD = 16;
const EPOCH = new Date(0);

/** @throws FnError package.invalid when an entry cannot be in a layer (a link that leaves it, a whiteout name) or a file
 *  changes while it is read. */
export async function writeLayer(
  images: string,
  kind: string,
  entries: readonly LayerEntry[],
  signal?: AbortSignal,
): Promise<Layer> {
  // A file of this name in a layer means: delete what lies below (image-spec, layer.md).
  const whiteout = entries.find(({ path }) => posix.basename(path).startsWith('.wh.'));
  if (whiteout) {
    const why = 'names that start with ".wh." have a meaning of their own in images';
    throw new FnError('package.invalid', `"${whiteout.path}": ${why}`);
  }
  await using blob = await BlobWriter.open(images);
  for await (const chunk of packEntries(entries, signal)) await blob.write(chunk);
  const { digest, size } = await blob.commit();
  return { digest, size, diffId: digest, kind };
}

/** The bytes of the archive, in large pieces. */
export async function* packEntries(
  entries: readonly LayerEntry[],
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const entry of entries) check(entry);
  const archive = pack();
  let failure: unknown;
  const filling = fill(archive, withParents(entries), signal).catch((error: unknown) => {
    failure = error;
    archive.destroy(error as Error);
  });
  try {
    yield* inLargePieces(archive as AsyncIterable<Uint8Array>);
  } catch (error) {
    await filling;
    throw failure ?? error; // The archive only knows that it was destroyed.
  } finally {
    archive.destroy();
    await filling;
  }
}

/** Headers come as pieces of 512 bytes. */
async function* inLargePieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let gathered: Uint8Array[] = [];
  let size: Bytes = 0;
  for await (const chunk of chunks) {
    gathered.push(chunk);
    size += chunk.byteLength;
    if (size < BUFFERED) continue;
    yield gathered.length === 1 ? chunk : Buffer.concat(gathered);
    gathered = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(gathered);
}

/** Sorted by name, with every directory above an entry, each once. */
function withParents(entries: readonly LayerEntry[]): LayerEntry[] {
  const all = new Map<string, LayerEntry>();
  for (const entry of entries) {
    const known = all.get(entry.path);
    if (known && (known.type !== 'directory' || entry.type !== 'directory')) {
      throw new FnError('package.invalid', `"${entry.path}" is in the layer twice`);
    }
    all.set(entry.path, entry);
  }
  for (const { path } of entries) {
    for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent)) {
      const known = all.get(parent);
      if (!known) all.set(parent, { type: 'directory', path: parent });
      else if (known.type !== 'directory') throw new FnError('package.invalid', `"${parent}" is not a directory`);
    }
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function check(entry: LayerEntry): void {
  const { path } = entry;
  if (posix.normalize(path) !== path || path.startsWith('/') || path.startsWith('..') || path.includes('\0')) {
    throw new FnError('package.invalid', `"${path}" is not a path a layer can hold`);
  }
  if (entry.type === 'symlink' && !linkStaysInside(path, entry.target)) {
    throw new FnError('package.invalid', `the link "${path}" leads outside, to "${entry.target}"`);
  }
}

async function fill(archive: Pack, entries: readonly LayerEntry[], signal?: AbortSignal): Promise<void> {
  for (let start = 0; start < entries.length; start += READ_AHEAD) {
    signal?.throwIfAborted();
    const batch = entries.slice(start, start + READ_AHEAD);
    const contents = await Promise.all(batch.map(readSmall));
    for (const [index, entry] of batch.entries()) await append(archive, entry, contents[index]);
  }
  archive.finalize();
}

/** The bytes of an entry where they fit into memory. */
async function readSmall(entry: LayerEntry): Promise<Uint8Array | undefined> {
  if (entry.type !== 'file') return undefined;
  if (entry.content instanceof Uint8Array) return entry.content;
  const { file, size, change } = entry.content;
  return size <= BUFFERED ? changed(await readFile(file), 0, change) : undefined;
}

function append(archive: Pack, entry: LayerEntry, bytes: Uint8Array | undefined): Promise<void> {
  const common = { mtime: EPOCH, uid: 0, gid: 0 };
  if (entry.type === 'directory') {
    return put(archive, { ...common, name: `${entry.path}/`, type: 'directory', mode: entry.mode ?? 0o755 });
  }
  if (entry.type === 'symlink') {
    return put(archive, { ...common, name: entry.path, type: 'symlink', linkname: entry.target, mode: 0o777 });
  }
  const header = { ...common, name: entry.path, type: 'file', mode: entry.executable ? 0o755 : 0o644 } as const;
  if (bytes) return put(archive, header, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return stream(archive, header, entry.content as HostFile);
}

type Header = Parameters<Pack['entry']>[0];

function put(archive: Pack, header: Header, bytes?: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null): void => (error ? reject(error) : resolve());
    if (bytes) archive.entry(header, bytes, done);
    else archive.entry(header, done);
  });
}

async function stream(archive: Pack, header: Header, { file, size, change }: HostFile): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const sink = archive.entry({ ...header, size }, (error) => (error ? reject(error) : resolve()));
  try {
    await Promise.all([pipeline(readChanged(file, change), sink), promise]);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall !== undefined) throw cause;
    throw new FnError('package.invalid', `"${header.name}" changed while it was read`, { cause });
  }
}

async function* readChanged(file: string, change: Change | undefined): AsyncGenerator<Buffer, void, undefined> {
  let at: Bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: BUFFERED }) as AsyncIterable<Buffer>) {
    yield changed(chunk, at, change);
    at += chunk.length;
  }
}

/** @param at where the piece is in its file. */
function changed(piece: Buffer, at: Bytes, change: Change | undefined): Buffer {
  for (const [index, byte] of change?.bytes.entries() ?? []) {
    const place = (change?.at ?? 0) + index - at;
    if (place >= 0 && place < piece.length) piece[place] = byte;
  }
  return piece;
}
