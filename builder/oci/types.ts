/** The documents of an OCI image (image-spec 1.1), as far as we write and read them. What comes from a disk or a network is
 *  parsed with these schemas; keys we do not know are kept out of the way, values of the wrong shape are refused. */

import { posix } from 'node:path';
import { z } from 'zod';
import { type Digest, parseDigest } from '../../core/ids.ts';
import type { Bytes } from '../../core/units.ts';

export const MEDIA_TYPE = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  /** Uncompressed on purpose: docs/decisions/002-images.md. */
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

export const REF_NAME = 'org.opencontainers.image.ref.name';

/** Manifests, configurations and the index; registries accept 4 MiB too. */
export const DOCUMENT_LIMIT: Bytes = 4 * 2 ** 20;

const digest = z.string().transform((text, context): Digest => {
  const parsed = parseDigest(text);
  if (parsed) return parsed;
  context.addIssue({ code: 'custom', message: 'not a sha256 digest' });
  return z.NEVER;
});

const descriptor = z.object({
  mediaType: z.string(),
  digest,
  size: z.int().min(0),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** CVE-2024-21626 began with a working directory of /proc/self/fd/N. */
function mayStartIn(directory: string): boolean {
  if (directory === '') return true;
  return directory.startsWith('/') && !/^\/(proc|sys|dev)(\/|$)/.test(posix.normalize(directory));
}

export const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MEDIA_TYPE.manifest),
  config: descriptor.extend({ mediaType: z.literal(MEDIA_TYPE.config) }),
  layers: z.array(descriptor.extend({ mediaType: z.literal(MEDIA_TYPE.layer) })).max(127),
  annotations: z.record(z.string(), z.string()).optional(),
});

export const configSchema = z.object({
  created: z.string().optional(),
  architecture: z.string(),
  os: z.string(),
  config: z
    .object({
      User: z.string().optional(),
      ExposedPorts: z.record(z.string(), z.object({})).optional(),
      Env: z.array(z.string()).optional(),
      Entrypoint: z.array(z.string()).optional(),
      Cmd: z.array(z.string()).optional(),
      WorkingDir: z.string().refine(mayStartIn, 'not a directory an image may start in').optional(),
      Labels: z.record(z.string(), z.string()).optional(),
      StopSignal: z.string().optional(),
    })
    .optional(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest).max(127) }),
});

export const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MEDIA_TYPE.index).optional(),
  manifests: z.array(descriptor),
});

export type Descriptor = z.output<typeof descriptor>;
export type Manifest = z.output<typeof manifestSchema>;
export type ImageConfig = z.output<typeof configSchema>;
export type ImageIndex = z.output<typeof indexSchema>;

/** A stored blob. */
export interface Blob {
  readonly digest: Digest;
  readonly size: Bytes;
}

/** One layer of an image, bottom first. `diffId` is the digest of the uncompressed tar; ours are equal. */
export interface Layer extends Blob {
  readonly diffId: Digest;
  /** What the maker of the image calls it (annotation dev.fn.layer); '' when it has no name. */
  readonly kind: string;
}
export const LAYER_KIND = 'dev.fn.layer';
