/** A function as the builder receives it: the package that builder/pack.ts made, unpacked and read. Nothing in it is
 *  trusted. */

import { createReadStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { FnError } from '../core/errors.ts';
import type { FunctionSpec } from '../core/spec.ts';
import { parseSpecFile } from '../core/spec-file.ts';
import { type ListedFile, listFiles } from './files.ts';
import { ignoring } from './ignore-files.ts';
import { extractTar } from './oci/extract.ts';
import { PACKAGE_LIMITS, requireSpec, SPEC_FILE } from './pack.ts';

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
    {
      hint:
        names.has(`${wanted}.tsx`) || names.has(`${wanted}.jsx`)
          ? 'JSX is not compiled here: compile it before, or do without.'
          : 'Set handler to "<file without suffix>.<export>". Files named in .gitignore or .fnignore are left out.',
    },
  );
}
