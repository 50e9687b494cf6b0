/** A store to build in, with a base layer of a few files instead of 125 MB where the base does not matter. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BuildProgress } from '../../core/queues.ts';
import type { BaseParts } from '../../builder/base.ts';
import { type BuildOptions, buildFunction } from '../../builder/build.ts';
import type { BuildStore } from '../../builder/layer-cache.ts';
import { readManifest } from '../../builder/oci/manifest.ts';
import { unpackLayer } from '../../builder/oci/unpack.ts';
import { prepareStore } from '../../builder/work.ts';
import { testDirectory, type TestDirectory, type Tree } from '../support/directory.ts';

export interface Workshop extends AsyncDisposable {
  readonly home: TestDirectory;
  readonly store: BuildStore;
  readonly base: BaseParts;
  readonly progress: BuildProgress[];
  /** Builds a directory of these files. */
  build(files: Tree, options?: Partial<BuildOptions>): ReturnType<typeof buildFunction>;
  /** Text of a file of an image, by the kind of its layer. */
  read(image: Awaited<ReturnType<typeof buildFunction>>, kind: string, path: string): Promise<string>;
}

export async function workshop(): Promise<Workshop> {
  const home = await testDirectory();
  const store: BuildStore = { images: join(home.path, 'images'), cache: join(home.path, 'cache') };
  await prepareStore(store);
  const runtime = new Map([['bootstrap.mjs', '// stub']]);
  const base: BaseParts = { node: '/bin/true', init: '/bin/true', runtime: () => runtime };
  const progress: BuildProgress[] = [];
  let count = 0;
  return {
    home,
    store,
    base,
    progress,
    async build(files, options = {}) {
      const directory = await home.write(
        { 'fn.yaml': 'name: hello\nhandler: index.default\n', ...files },
        `f${count++}`,
      );
      return buildFunction({
        source: { directory },
        store,
        base,
        env: process.env,
        timeout: 60_000,
        onProgress: (one) => progress.push(one),
        ...options,
      });
    },
    async read({ image }, kind, path) {
      const { layers } = await readManifest(store.images, image);
      const layer = layers.find((one) => one.kind === kind);
      if (!layer) throw new Error(`the image has no ${kind} layer`);
      const directory = join(home.path, 'unpacked', layer.digest);
      await unpackLayer(store.images, layer.digest, directory);
      return readFile(join(directory, path), 'utf8');
    },
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}
