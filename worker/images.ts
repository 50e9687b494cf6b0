/** From an image digest to what a sandbox needs: the unpacked base layer as its root, and one read-only tree of the code and
 *  its dependencies to mount at /task. Layers are unpacked once per digest, trees mounted once per image, both shared by all
 *  instances. */

import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync, rmdirSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../core/config.ts';
import { TASK_PATH } from '../core/control.ts';
import { FnError } from '../core/errors.ts';
import type { Digest } from '../core/ids.ts';
import { readManifest } from '../builder/oci/manifest.ts';
import { isAbandoned, unpackLayer } from '../builder/oci/unpack.ts';
import { mount, MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REMOUNT, unmount } from './native.ts';

export interface UnpackedImage {
  /** Directory of the base layer. */
  readonly rootfs: string;
  /** Mounted tree of everything below /task. */
  readonly task: string;
  /** Variables the image asks for. */
  readonly env: Readonly<Record<string, string>>;
}

const FLAGS = MS_RDONLY | MS_NOSUID | MS_NODEV;
const nameOf = (digest: Digest): string => digest.slice('sha256:'.length);

/** Unpacked layers are not flushed to disk: after the machine went down, maybe without power, they may be damaged. */
export async function dropLayersOfEarlierBoot(config: Config): Promise<void> {
  const { layers } = config.paths;
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const stamp = join(layers, '.boot');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === boot) return;
  await rm(layers, { recursive: true, force: true });
  await mkdir(layers, { mode: 0o711 });
  await writeFile(stamp, boot);
}

export class Images {
  readonly #config: Config;
  readonly #ready = new Map<Digest, Promise<UnpackedImage>>();
  /** Being unpacked: whoever asked for it may not be known to `collect` yet. */
  readonly #preparing = new Set<Digest>();

  constructor(config: Config) {
    this.#config = config;
  }

  /** Unpacks and mounts on first use. Concurrent callers share the work; a failure is tried again by the next. */
  get(image: Digest): Promise<UnpackedImage> {
    let ready = this.#ready.get(image);
    if (!ready) {
      this.#preparing.add(image);
      ready = this.#prepare(image).finally(() => this.#preparing.delete(image));
      this.#ready.set(image, ready);
      ready.catch(() => this.#ready.delete(image));
    }
    return ready;
  }

  /** Unmounts and removes trees and layers that no image uses, and what was left half-unpacked. @param used is asked again
   *  right before anything goes, since images come while manifests are read. @throws when one of those cannot be read: which
   *  layers are in use is not known then, and none goes. */
  async collect(used: () => Iterable<Digest>): Promise<void> {
    const layersOf = new Map<Digest, readonly string[]>();
    for (let unread = this.#unread(used, layersOf); unread.length > 0; unread = this.#unread(used, layersOf)) {
      for (const image of unread) {
        const { layers } = await readManifest(this.#config.paths.images, image);
        layersOf.set(
          image,
          layers.map(({ digest }) => nameOf(digest)),
        );
      }
    }
    // In one go from here to the renaming, so that nobody can ask for an image between.
    const keep = this.#kept(used);
    this.#dropTrees(new Set(keep.map(nameOf)));
    const { layers } = this.#config.paths;
    const wanted = new Set(['.boot', ...keep.flatMap((image) => layersOf.get(image) ?? [])]);
    for (const name of readdirSync(layers)) {
      if (wanted.has(name) || name.includes('.partial-')) continue;
      // Half a layer must not look like one: removing takes a while, and may be interrupted.
      renameSync(join(layers, name), join(layers, `${name}.partial-${process.pid}-${randomBytes(4).toString('hex')}`));
    }
    for (const path of readdirSync(layers).map((name) => join(layers, name))) {
      if (isAbandoned(path)) await rm(path, { recursive: true, force: true });
    }
  }

  #kept(used: () => Iterable<Digest>): Digest[] {
    return [...used(), ...this.#preparing];
  }

  #unread(used: () => Iterable<Digest>, read: ReadonlyMap<Digest, unknown>): Digest[] {
    return this.#kept(used).filter((image) => !read.has(image));
  }

  #dropTrees(wanted: ReadonlySet<string>): void {
    const { tasks } = this.#config.paths;
    for (const name of readdirSync(tasks)) {
      if (wanted.has(name)) continue;
      this.#ready.delete(`sha256:${name}` as Digest);
      while (unmount(join(tasks, name)));
      rmdirSync(join(tasks, name));
    }
  }

  /** Unmounts every tree: the platform stops. */
  async unmountAll(): Promise<void> {
    this.#ready.clear();
    for (const name of await readdir(this.#config.paths.tasks).catch(() => [])) {
      while (unmount(join(this.#config.paths.tasks, name)));
    }
  }

  async #prepare(image: Digest): Promise<UnpackedImage> {
    const { images, layers: layersDirectory, tasks } = this.#config.paths;
    const { layers, config } = await readManifest(images, image);
    const directories = await Promise.all(
      layers.map(async (layer) => {
        const directory = join(layersDirectory, nameOf(layer.digest));
        await unpackLayer(images, layer.digest, directory);
        return { kind: layer.kind, directory };
      }),
    );
    const base = directories.find(({ kind }) => kind === 'base');
    const upper = directories.filter(({ kind }) => kind !== 'base').map(({ directory }) => join(directory, TASK_PATH));
    if (!base || upper.length === 0) throw new FnError('image.invalid', `image ${image} has no base or no code layer`);

    const task = join(tasks, nameOf(image));
    await mkdir(task, { recursive: true, mode: 0o711 });
    while (unmount(task)); // Left by an earlier worker.
    const [only, ...more] = upper;
    if (only !== undefined && more.length === 0) {
      mount(only, task, null, MS_BIND);
      mount(only, task, null, MS_BIND | MS_REMOUNT | FLAGS); // Flags of a bind mount take a second call.
    } else {
      // The last layer of an image is the topmost; overlayfs names the topmost first.
      mount('overlay', task, 'overlay', FLAGS, `lowerdir=${upper.toReversed().join(':')}`);
    }
    return { rootfs: base.directory, task, env: environmentOf(config.config?.Env ?? []) };
  }
}

/** Of `NAME=value` lines, those that are about the function. The sandbox has a PATH of its own. */
function environmentOf(lines: readonly string[]): Record<string, string> {
  const pairs = lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const);
  return Object.fromEntries(pairs.filter(([name]) => name !== 'PATH' && name !== ''));
}
