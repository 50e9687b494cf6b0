/** An image: a manifest that names a configuration and layers. Written as the same bytes for the same content (fixed key
 *  order, no time stamps but the epoch), so its digest says whether two builds are equal. */

import { z } from 'zod';
import { FnError } from '../../core/errors.ts';
import type { Digest } from '../../core/ids.ts';
import { putBlob, readBlob } from './layout.ts';
import {
  type Blob,
  configSchema,
  DOCUMENT_LIMIT,
  type ImageConfig,
  type Layer,
  LAYER_KIND,
  type Manifest,
  manifestSchema,
  MEDIA_TYPE,
} from './types.ts';

/** What a container made from the image runs, and how. */
export type RunConfig = NonNullable<ImageConfig['config']>;

/** Node's name of the processor → the one Go programs use. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', arm: 'arm', arm64: 'arm64' };

/** Stores the configuration and the manifest. The layers must be in the store. */
export async function putImage(images: string, run: RunConfig, layers: readonly Layer[]): Promise<Blob> {
  const config: ImageConfig = {
    created: '1970-01-01T00:00:00Z',
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: run,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
  };
  const stored = await putBlob(images, encode(config));
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: { mediaType: MEDIA_TYPE.config, digest: stored.digest, size: stored.size },
    layers: layers.map(({ digest, size, kind }) => ({
      mediaType: MEDIA_TYPE.layer,
      digest,
      size,
      ...(kind !== '' && { annotations: { [LAYER_KIND]: kind } }),
    })),
  };
  return putBlob(images, encode(manifest));
}

export interface Image {
  readonly manifest: Manifest;
  readonly config: ImageConfig & { readonly blob: Blob };
  readonly layers: readonly Layer[];
}

/** Reads an image by the digest of its manifest; both documents are checked against their digests.
 *  @throws FnError image.invalid when one is missing, altered, or not of the shape we run. */
export async function readManifest(images: string, digest: Digest): Promise<Image> {
  const manifest = decode(manifestSchema, await readBlob(images, digest, DOCUMENT_LIMIT), digest);
  const { digest: configDigest, size } = manifest.config;
  const config = decode(configSchema, await readBlob(images, configDigest, DOCUMENT_LIMIT), configDigest);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw new FnError('image.invalid', `${digest} has ${manifest.layers.length} layers but ${diffIds.length} diff ids`);
  }
  const layers = manifest.layers.map((layer, index) => ({
    digest: layer.digest,
    size: layer.size,
    diffId: diffIds[index] ?? layer.digest,
    kind: layer.annotations?.[LAYER_KIND] ?? '',
  }));
  return { manifest, config: { ...config, blob: { digest: configDigest, size } }, layers };
}

function encode(document: Manifest | ImageConfig): Buffer {
  return Buffer.from(JSON.stringify(document));
}

function decode<T>(schema: z.ZodType<T>, bytes: Buffer, digest: Digest): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new FnError('image.invalid', `${digest} is not a document of an image: ${why}`, { cause });
  }
}
