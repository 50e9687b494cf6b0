/** From a function's directory to an image: base layer, dependency layer, code layer, and a configuration that runs the
 *  bootstrap. The first two come from the cache unless their inputs changed, so a change of code costs a few files' worth
 *  of hashing. The same input gives the same digest. */

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FnError } from '../core/errors.ts';
import type { BuildProgress, BuildResult } from '../core/queues.ts';
import type { FunctionSpec } from '../core/spec.ts';
import { formatBytes } from '../core/units.ts';
import { BOOTSTRAP_PATH, baseLayer, type BaseParts, INIT_PATH, NODE_PATH } from './base.ts';
import { codeOf } from './code.ts';
import { dependencyLayer, type InstallOptions } from './dependencies.ts';
import type { BuildStore, BuiltLayer } from './layer-cache.ts';
import { addImage } from './oci/index-file.ts';
import { writeLayer } from './oci/layer.ts';
import { putImage, type RunConfig } from './oci/manifest.ts';
import type { Blob } from './oci/types.ts';
import { readPackage, unpackPackage } from './package.ts';
import { workDirectory } from './work.ts';

export interface BuildOptions extends Pick<InstallOptions, 'env' | 'timeout' | 'signal'> {
  /** An upload (tar.gz), or a directory as it is. */
  readonly source: { readonly tarball: string } | { readonly directory: string };
  readonly store: BuildStore;
  /** Where the base layer comes from; this host by default. */
  readonly base?: BaseParts;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** The image is in the index of the store as `<function>-<first 12 digits of its digest>`.
 *  @throws FnError spec.*, handler.missing, package.invalid, build.*, machine.unsupported, storage.full; the signal's reason */
export async function buildFunction(options: BuildOptions): Promise<BuildResult> {
  const { source, store, signal } = options;
  const unpacked = await mkdtemp(join(await workDirectory(store), 'build-'));
  try {
    if ('directory' in source) return await build(options, source.directory);
    await unpackPackage(source.tarball, unpacked, signal);
    return await build(options, unpacked);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    throw new FnError('storage.full', 'there is no room to build the image', { cause: error });
  } finally {
    await rm(unpacked, { recursive: true, force: true });
  }
}

async function build(options: BuildOptions, directory: string): Promise<BuildResult> {
  const { store, signal, onProgress } = options;
  const tell = (step: string, text: string): void => onProgress?.({ step, text });
  const source = await readPackage(directory);

  const base = await baseLayer(store, {
    ...options,
    onProgress: (text) => tell('base', text),
  });
  const dependencies = await dependencyLayer(store, source, {
    ...options,
    onProgress: (text) => tell('dependencies', text),
  });
  if (dependencies) tell('dependencies', sizeOf(dependencies));
  signal?.throwIfAborted();
  const { entries, typescript } = await codeOf(source);
  const code: BuiltLayer = { ...(await writeLayer(store.images, 'code', entries, signal)), cached: false };
  tell('code', entries.length === 1 ? '1 file' : `${entries.length} files`);

  const layers = [base, ...(dependencies ? [dependencies] : []), code];
  const image = await putImage(store.images, runConfig(source.spec, typescript), layers);
  await addImage(store.images, nameOf(source.spec, image), image);
  return {
    image: image.digest,
    spec: source.spec,
    layers: layers.map(({ kind, digest, size, cached }) => ({ kind, digest, size, cached })),
  };
}

function runConfig({ name, runtime, handler }: FunctionSpec, typescript: boolean): RunConfig {
  return {
    User: '1000:1000',
    ExposedPorts: { '8080/tcp': {} },
    Env: [
      'PATH=/usr/local/bin:/usr/bin:/bin',
      `FN_FUNCTION=${name}`,
      `FN_HANDLER=${handler}`,
      ...(typescript ? ['FN_TYPESCRIPT=1'] : []),
    ],
    Entrypoint: [INIT_PATH, '--', NODE_PATH, BOOTSTRAP_PATH],
    WorkingDir: '/task',
    Labels: { 'dev.fn.function': name, 'dev.fn.runtime': runtime },
  };
}

function nameOf(spec: FunctionSpec, image: Blob): string {
  return `${spec.name}-${image.digest.slice('sha256:'.length).slice(0, 12)}`;
}

function sizeOf({ size, cached }: BuiltLayer): string {
  return `${formatBytes(size)}${cached ? ', cached' : ''}`;
}
