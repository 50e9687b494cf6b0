/** Says everything that is wrong with an image in a store. Written apart from the code that makes images and sharing
 *  nothing with it, so that the two cannot agree on a mistake: it reads every byte again and follows the text of
 *  image-spec 1.1. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const READ_SIZE = 1 << 20;
const TAR = 'application/vnd.oci.image.layer.v1.tar';

type Json = Readonly<Record<string, unknown>>;

/** Checks oci-layout, index.json and every image in it. Returns one sentence per finding; none means valid. */
export async function validateLayout(images: string): Promise<string[]> {
  const findings: string[] = [];
  const marker = parse(await text(join(images, 'oci-layout')), 'oci-layout', findings);
  if (marker && marker['imageLayoutVersion'] !== '1.0.0') findings.push('oci-layout: imageLayoutVersion is not 1.0.0');
  const index = parse(await text(join(images, 'index.json')), 'index.json', findings);
  if (!index) return findings;
  if (index['schemaVersion'] !== 2) findings.push('index.json: schemaVersion is not 2');
  if (index['mediaType'] !== undefined && index['mediaType'] !== INDEX) findings.push('index.json: wrong mediaType');
  const names = new Set<unknown>();
  for (const entry of list(index['manifests'])) {
    const name = object(entry['annotations'])?.['org.opencontainers.image.ref.name'];
    if (name !== undefined && names.has(name))
      findings.push(`index.json: the name ${JSON.stringify(name)} is there twice`);
    names.add(name);
    if (entry['mediaType'] !== MANIFEST) findings.push('index.json: an entry is not an image manifest');
    else findings.push(...(await validateImage(images, String(entry['digest']), entry['size'])));
  }
  return findings;
}

/** Checks one image by the digest of its manifest. */
export async function validateImage(images: string, digest: string, size?: unknown): Promise<string[]> {
  const findings: string[] = [];
  const bytes = await document(images, { digest, size }, findings);
  const manifest = parse(bytes, `manifest ${digest}`, findings);
  if (!manifest) return findings;
  if (manifest['schemaVersion'] !== 2) findings.push('manifest: schemaVersion is not 2');
  if (manifest['mediaType'] !== MANIFEST) findings.push('manifest: wrong mediaType');
  const configDescriptor = object(manifest['config']);
  if (configDescriptor?.['mediaType'] !== CONFIG) findings.push('manifest: config has the wrong mediaType');
  const layers = list(manifest['layers']);
  if (layers.length === 0) findings.push('manifest: there are no layers');

  const config = parse(await document(images, configDescriptor ?? {}, findings), 'config', findings);
  const diffIds = checkConfig(config, findings);
  if (diffIds.length !== layers.length) {
    findings.push(`config: ${diffIds.length} diff_ids for ${layers.length} layers`);
  }
  for (const [position, layer] of layers.entries()) {
    await checkLayer(images, layer, diffIds[position], findings);
  }
  return findings;
}

function checkConfig(config: Json | undefined, findings: string[]): unknown[] {
  if (!config) return [];
  if (config['os'] !== 'linux') findings.push('config: os is not linux');
  if (!['amd64', 'arm64', 'arm', '386'].includes(String(config['architecture']))) {
    findings.push(`config: unknown architecture ${String(config['architecture'])}`);
  }
  const rootfs = object(config['rootfs']);
  if (rootfs?.['type'] !== 'layers') findings.push('config: rootfs.type is not layers');
  const env = object(config['config'])?.['Env'] ?? [];
  if (!Array.isArray(env) || env.some((one) => !/^[^=\0]+=[^\0]*$/.test(String(one)))) {
    findings.push('config: Env has something that is not NAME=value');
  }
  const diffIds = rootfs?.['diff_ids'];
  return Array.isArray(diffIds) ? diffIds : [];
}

async function checkLayer(images: string, layer: Json, diffId: unknown, findings: string[]): Promise<void> {
  const name = `layer ${String(layer['digest'])}`;
  if (layer['mediaType'] !== TAR) findings.push(`${name}: wrong mediaType`);
  const path = pathOf(images, layer['digest'], name, findings);
  if (!path) return;
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: READ_SIZE }) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      size += chunk.length;
    }
    await checkTar(path, name, findings);
  } catch (error) {
    findings.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== layer['digest']) findings.push(`${name}: its content has digest ${actual}`);
  if (size !== layer['size']) findings.push(`${name}: its size is ${size}, not ${String(layer['size'])}`);
  // Not compressed, so the digest of the tar is the digest of the blob.
  if (diffId !== actual) findings.push(`${name}: its diff_id is ${String(diffId)}`);
}

async function checkTar(path: string, name: string, findings: string[]): Promise<void> {
  const archive = extract();
  const seen = new Set<string>();
  archive.on('entry', (header, stream, next) => {
    if (seen.has(header.name)) findings.push(`${name}: "${header.name}" is there twice`);
    seen.add(header.name);
    stream.on('error', () => {}); // The archive reports it.
    stream.on('end', () => next());
    stream.resume();
  });
  await pipeline(createReadStream(path, { highWaterMark: READ_SIZE }), archive);
}

/** A JSON document by its descriptor, checked for digest and size. */
async function document(images: string, descriptor: Json, findings: string[]): Promise<Buffer | undefined> {
  const { digest, size } = descriptor;
  const path = pathOf(images, digest, 'document', findings);
  if (!path) return undefined;
  const bytes = await text(path);
  if (!bytes) {
    findings.push(`${String(digest)} is missing`);
    return undefined;
  }
  if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== digest) {
    findings.push(`${String(digest)}: its content has another digest`);
  }
  if (size !== undefined && size !== bytes.length) findings.push(`${String(digest)}: its size is ${bytes.length}`);
  return bytes;
}

function pathOf(images: string, digest: unknown, what: string, findings: string[]): string | undefined {
  const match = /^sha256:([0-9a-f]{64})$/.exec(String(digest));
  if (match?.[1]) return join(images, 'blobs', 'sha256', match[1]);
  findings.push(`${what}: "${String(digest)}" is not a digest`);
  return undefined;
}

async function text(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch(() => undefined);
}

function parse(bytes: Buffer | undefined, what: string, findings: string[]): Json | undefined {
  if (!bytes) {
    findings.push(`${what} is missing`);
    return undefined;
  }
  try {
    const value = object(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
    if (value) return value;
    findings.push(`${what} is not a JSON object`);
  } catch (error) {
    findings.push(`${what} is not JSON: ${String(error)}`);
  }
  return undefined;
}

function object(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value.map((one) => object(one) ?? {}) : [];
}
