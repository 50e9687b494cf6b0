/** A function on its way from a directory to the builder: packed here by the CLI, unpacked here by the builder. Both sides
 *  have the same bounds, so what packs also unpacks; the builder trusts none of it. */

import { createReadStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { FnError } from '../core/errors.ts';
import type { FunctionSpec } from '../core/spec.ts';
import { parseSpecFile } from '../core/spec-file.ts';
import { type Bytes, formatBytes } from '../core/units.ts';
import { entryOf, type ListedFile, listFiles } from './files.ts';
import { ignoring } from './ignore-files.ts';
import { type ExtractLimits, extractTar } from './oci/extract.ts';
import { packEntries } from './oci/layer.ts';

const MIB = 2 ** 20;
export const PACKAGE_LIMITS: ExtractLimits = { entries: 20_000, bytes: 512 * MIB, pathBytes: 1024 };
/** Tar rounds up and adds headers; this much is left for them. */
const CONTENT_LIMIT: Bytes = 480 * MIB;

const SPEC_FILE = 'fn.yaml';

/** The directory as tar.gz: what is not ignored, nothing of the outside. The same files give the same bytes.
 *  @throws FnError spec.missing, or package.invalid when it is too large or holds what cannot be packed; all of it is
 *  found before the first byte. */
export async function packDirectory(directory: string): Promise<Readable> {
  const files = await listFiles(directory, ignoring(directory));
  requireSpec(files, directory);
  checkSize(files);
  const archive = packEntries(files.map((file) => entryOf(directory, file, file.path)));
  // Fastest level: the way is usually short, and packing is part of every deploy.
  const zipped = createGzip({ level: 1 });
  pipeline(archive, zipped).catch(() => {}); // It destroys `zipped` with the error, so the reader is told.
  return zipped;
}

/** Unpacks an upload into a new directory.
 *  @throws FnError package.invalid */
export async function unpackPackage(tarball: string, directory: string, signal?: AbortSignal): Promise<void> {
  await mkdir(directory, { recursive: true });
  const source = createReadStream(tarball);
  const unzipped = createGunzip();
  source.on('error', (error) => unzipped.destroy(error));
  try {
    await extractTar(source.pipe(unzipped), directory, {
      kind: 'package',
      limits: PACKAGE_LIMITS,
      ...(signal && { signal }),
    });
  } finally {
    source.destroy();
  }
}

/** The specification and the files of a function. */
export interface FunctionPackage {
  readonly directory: string;
  readonly spec: FunctionSpec;
  readonly files: readonly ListedFile[];
}

/** @throws FnError spec.missing, spec.invalid, handler.missing, package.invalid */
export async function readPackage(directory: string): Promise<FunctionPackage> {
  const files = await listFiles(directory, ignoring(directory));
  requireSpec(files, 'the package');
  const spec = parseSpecFile(await readFile(join(directory, SPEC_FILE), 'utf8'), SPEC_FILE);
  checkHandler(spec, files);
  return { directory, spec, files };
}

const SUFFIXES = ['js', 'mjs', 'cjs', 'ts', 'mts', 'cts'];
const SHOWN_FILES = 10;

function checkHandler({ handler }: FunctionSpec, files: readonly ListedFile[]): void {
  const file = handler.slice(0, handler.lastIndexOf('.'));
  const names = new Set(files.map(({ path }) => path));
  const wanted = file.replace(/^(\.\/)+/, '');
  if (SUFFIXES.some((suffix) => names.has(`${wanted}.${suffix}`))) return;
  const sources = [...names].filter((name) => SUFFIXES.includes(name.slice(name.lastIndexOf('.') + 1)));
  const shown = sources.slice(0, SHOWN_FILES).join(', ');
  const more = sources.length > SHOWN_FILES ? ` and ${sources.length - SHOWN_FILES} more` : '';
  throw new FnError(
    'handler.missing',
    `fn.yaml names the handler "${handler}", but there is no ${wanted}.js, .mjs, .cjs, .ts, .mts or .cts; ` +
      (sources.length === 0 ? 'there are no source files at all' : `there is ${shown}${more}`),
    { hint: 'Set handler to "<file without suffix>.<export>". Files named in .gitignore or .fnignore are left out.' },
  );
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

function requireSpec(files: readonly ListedFile[], where: string): void {
  if (files.some((file) => file.path === SPEC_FILE && file.type === 'file')) return;
  throw new FnError('spec.missing', `${where} has no ${SPEC_FILE}`);
}
