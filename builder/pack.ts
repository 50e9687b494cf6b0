/** Packs a function's directory for the way to the builder. The half of it that runs in the CLI: it loads neither parser nor
 *  schema, since start-up is a large part of a quick deploy. Both sides have the same bounds, so what packs also unpacks. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { FnError } from '../core/errors.ts';
import { type Bytes, formatBytes } from '../core/units.ts';
import { entryOf, type ListedFile, listFiles } from './files.ts';
import { ignoring } from './ignore-files.ts';
import type { ExtractLimits } from './oci/extract.ts';
import { packEntries } from './oci/layer.ts';

const MIB = 2 ** 20;
export const PACKAGE_LIMITS: ExtractLimits = { entries: 20_000, bytes: 512 * MIB, pathBytes: 1024 };
/** Tar rounds up and adds headers; this much is left for them. */
export const CONTENT_LIMIT: Bytes = 480 * MIB;

export const SPEC_FILE = 'fn.yaml';

/** The directory as tar.gz: what is not ignored, nothing of the outside. The same files give the same bytes.
 *  @throws FnError spec.missing, or package.invalid when it is too large or holds what cannot be packed; all of it is
 *  found before the first byte. */
export async function packDirectory(directory: string): Promise<Readable> {
  // First, so that a wrong directory, which may be a whole disk, is told at once.
  if (!existsSync(join(directory, SPEC_FILE))) throw noSpec(directory);
  const files = await listFiles(directory, ignoring(directory));
  requireSpec(files, directory);
  checkSize(files);
  const archive = packEntries(files.map((file) => entryOf(directory, file, file.path)));
  // Fastest level: the way is usually short, and packing is part of every deploy.
  const zipped = createGzip({ level: 1 });
  pipeline(archive, zipped).catch(() => {}); // It destroys `zipped` with the error, so the reader is told.
  return zipped;
}

function checkSize(files: readonly ListedFile[]): void {
  const sizeOf = (file: ListedFile): Bytes => (file.type === 'file' ? file.size : 0);
  const total = files.reduce((sum, file) => sum + sizeOf(file), 0);
  const most = PACKAGE_LIMITS.entries / 2; // Their directories are entries too.
  if (total <= CONTENT_LIMIT && files.length <= most) return;
  const largest = files.toSorted((a, b) => sizeOf(b) - sizeOf(a)).slice(0, 3);
  throw new FnError(
    'package.invalid',
    `the directory has ${files.length} files with ${formatBytes(total)} in them; ` +
      `at most ${most} files and ${formatBytes(CONTENT_LIMIT)} can be deployed`,
    {
      hint: `Name what the function does not need in .fnignore. The largest: ${largest
        .map((file) => `${file.path} (${formatBytes(sizeOf(file))})`)
        .join(', ')}.`,
    },
  );
}

export function requireSpec(files: readonly ListedFile[], where: string): void {
  if (files.some((file) => file.path === SPEC_FILE && file.type === 'file')) return;
  throw noSpec(where);
}

function noSpec(where: string): FnError {
  const other = ['fn.yml', 'fn.json'].find((name) => existsSync(join(where, name)));
  if (other === undefined) return new FnError('spec.missing', `${where} has no ${SPEC_FILE}`);
  return new FnError('spec.missing', `${where} has ${other}, but no ${SPEC_FILE}`, { hint: `Call it ${SPEC_FILE}.` });
}
