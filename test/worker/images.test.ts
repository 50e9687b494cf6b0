/** Unpacked layers and mounted trees: shared while they are used, and gone when no revision is. */

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { addImage } from '../../builder/oci/index-file.ts';
import { writeLayer } from '../../builder/oci/layer.ts';
import { blobPath, openLayout } from '../../builder/oci/layout.ts';
import { putImage } from '../../builder/oci/manifest.ts';
import { loadConfig } from '../../core/config.ts';
import type { Digest } from '../../core/ids.ts';
import { Images } from '../../worker/images.ts';
import { testDirectory } from '../support/directory.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const DEAD = 2 ** 22 + 1;

describe.skipIf(skipBecause(notRoot()))('images that are unpacked', () => {
  const closing: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  async function worker() {
    const home = await testDirectory();
    const { paths, ...config } = loadConfig({ FN_HOME: home.path });
    for (const path of [paths.layers, paths.tasks]) await mkdir(path);
    await openLayout(paths.images);
    const images = new Images({ ...config, paths });
    closing.push(async () => {
      await images.unmountAll();
      await home[Symbol.asyncDispose]();
    });
    const file = (path: string, content: string) =>
      ({ type: 'file', path, executable: false, content: Buffer.from(content) }) as const;
    const base = await writeLayer(paths.images, 'base', [file('etc/hosts', '')]);
    return {
      images,
      paths,
      build: async (content: string): Promise<Digest> => {
        const code = await writeLayer(paths.images, 'code', [file('task/index.js', content)]);
        const image = await putImage(paths.images, {}, [base, code]);
        await addImage(paths.images, content, image);
        return image.digest;
      },
      /** Of its layers. */
      left: async () => (await readdir(paths.layers)).length,
    };
  }

  const codeOf = async (task: string): Promise<string> => readFile(join(task, 'index.js'), 'utf8');

  test('go when none of them is used, all but the layers that others share', async () => {
    const { images, paths, build, left } = await worker();
    const [kept, gone] = [await build('kept'), await build('gone')];
    const [{ task }] = [await images.get(kept), await images.get(gone)];
    expect(await left()).toBe(3);
    await images.collect(() => [kept]);
    expect(await left()).toBe(2);
    expect(await readdir(paths.tasks)).toEqual([kept.slice('sha256:'.length)]);
    expect(await codeOf(task)).toBe('kept');
    expect(await codeOf((await images.get(gone)).task)).toBe('gone'); // It can come back.
  });

  test('go when an earlier worker left them, whole or half', async () => {
    const { images, paths, build, left } = await worker();
    await images.get(await build('earlier'));
    const [layer = ''] = await readdir(paths.layers);
    for (const pid of [DEAD, process.pid]) await mkdir(join(paths.layers, `${layer}.partial-${pid}-00`));
    await new Images(loadConfig({ FN_HOME: paths.home })).collect(() => []);
    expect([await left(), await readdir(paths.tasks)]).toEqual([0, []]);
  });

  test('stay when they are asked for while the others go', async () => {
    const { images, build } = await worker();
    const [asked, known] = [await build('asked'), await build('known')];
    const used: Digest[] = [known];
    const collected = images.collect(() => used);
    const { task } = await images.get(asked);
    used.push(asked); // From now on it is known whose it is.
    await collected;
    await images.collect(() => used);
    expect(await codeOf(task)).toBe('asked');
  });

  test('stay all together when it cannot be told which layers one of them has', async () => {
    const { images, paths, build, left } = await worker();
    const [used, unused] = [await build('used'), await build('unused')];
    await Promise.all([images.get(used), images.get(unused)]);
    await writeFile(blobPath(paths.images, used), 'no manifest');
    await expect(images.collect(() => [used])).rejects.toMatchObject({ code: 'image.invalid' });
    expect(await left()).toBe(3);
  });
});
