/** The image store: layers made the same everywhere, damage noticed, garbage collected, layers unpacked once. */

import { lstat, mkdir, open, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Digest } from '../../core/ids.ts';
import { digestOf } from '../../builder/oci/digest.ts';
import { addImage, collectGarbage, listImages, removeImage } from '../../builder/oci/index-file.ts';
import { type LayerEntry, writeLayer } from '../../builder/oci/layer.ts';
import { blobPath, openLayout, partialPath, putBlob } from '../../builder/oci/layout.ts';
import { putImage, readManifest } from '../../builder/oci/manifest.ts';
import type { Blob, Layer } from '../../builder/oci/types.ts';
import { unpackLayer } from '../../builder/oci/unpack.ts';
import { validateImage, validateLayout } from '../../builder/oci/validate.ts';
import { testDirectory, type TestDirectory } from '../support/directory.ts';

const text = (path: string, content: string): LayerEntry => ({
  type: 'file',
  path,
  executable: false,
  content: Buffer.from(content),
});

async function store(home: TestDirectory, name = 'images'): Promise<string> {
  const images = join(home.path, name);
  await openLayout(images);
  return images;
}

/** An image of one layer with one file. */
async function smallImage(images: string, content: string): Promise<{ image: Blob; layer: Layer }> {
  const layer = await writeLayer(images, 'code', [text('task/index.js', content)]);
  const image = await putImage(images, { User: '1000:1000', Env: ['PATH=/bin'], WorkingDir: '/task' }, [layer]);
  await addImage(images, content, image);
  return { image, layer };
}

async function flipBit(path: string, position: number): Promise<void> {
  await using file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, position);
}

describe('a layer', () => {
  test('is the same for the same entries in any order, from files or from memory', async () => {
    await using home = await testDirectory();
    const big = Buffer.alloc(3 * 2 ** 20, 'big');
    const source = await home.write({ small: 'small', big }, 'source');
    const [one, two] = [await store(home, 'one'), await store(home, 'two')];
    const fromMemory: LayerEntry[] = [
      text('task/a/small', 'small'),
      { type: 'file', path: 'task/big', executable: true, content: big },
      { type: 'symlink', path: 'task/z', target: 'a/small' },
      { type: 'directory', path: 'tmp', mode: 0o1777 },
    ];
    const onDisk = async (name: string) => ({ file: join(source, name), size: (await stat(join(source, name))).size });
    const fromFiles: LayerEntry[] = [
      { type: 'directory', path: 'tmp', mode: 0o1777 },
      { type: 'symlink', path: 'task/z', target: 'a/small' },
      { type: 'file', path: 'task/big', executable: true, content: await onDisk('big') },
      { type: 'directory', path: 'task' },
      { type: 'file', path: 'task/a/small', executable: false, content: await onDisk('small') },
    ];
    const first = await writeLayer(one, 'code', fromMemory);
    expect(await writeLayer(two, 'code', fromFiles)).toEqual(first);
    expect(first.digest).toBe(digestOf(await readFile(blobPath(one, first.digest))));
    expect(first.size).toBe((await stat(blobPath(one, first.digest))).size);
    // The bytes themselves must not change from one version to the next by accident: every image would.
    expect(first.digest).toBe(DIGEST_OF_THE_LAYER_ABOVE);
  });

  test('holds names that ustar cannot', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const long = `task/${'ordner/'.repeat(40)}größe-${'ü'.repeat(60)}`;
    const layer = await writeLayer(images, 'code', [
      text(long, 'x'),
      { type: 'directory', path: `task/${'d'.repeat(200)}` },
    ]);
    await unpackLayer(images, layer.digest, join(home.path, 'out'));
    expect(await readFile(join(home.path, 'out', long), 'utf8')).toBe('x');
    expect((await stat(join(home.path, 'out/task', 'd'.repeat(200)))).isDirectory()).toBe(true);
  });

  test.for<[string, LayerEntry]>([
    ['a link that leaves it', { type: 'symlink', path: 'a', target: '../x' }],
    ['an absolute link', { type: 'symlink', path: 'a', target: '/etc/passwd' }],
    ['a name that climbs', text('../a', '')],
    ['an absolute name', text('/a', '')],
    ['a name that would delete something below', text('task/.wh.x', '')],
  ])('refuses %s', async ([, entry]) => {
    await using home = await testDirectory();
    const images = await store(home);
    await expect(writeLayer(images, 'code', [entry])).rejects.toMatchObject({ code: 'package.invalid' });
    expect(await readdir(partialPath(images))).toEqual([]);
  });

  test('refuses a file that shrinks while it is read, and leaves nothing', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const file = join(await home.write({ f: 'x'.repeat(10) }), 'f');
    const entry: LayerEntry = { type: 'file', path: 'f', executable: false, content: { file, size: 3 * 2 ** 20 } };
    await expect(writeLayer(images, 'code', [entry])).rejects.toThrow('changed while it was read');
    expect(await readdir(partialPath(images))).toEqual([]);
    expect(await readdir(join(images, 'blobs/sha256'))).toEqual([]);
  });
});

describe('an image', () => {
  test('reads back, and the validator agrees', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { image, layer } = await smallImage(images, 'hello');
    const read = await readManifest(images, image.digest);
    expect(read.layers).toEqual([layer]);
    expect(read.config.config?.WorkingDir).toBe('/task');
    expect(await listImages(images)).toEqual([{ ...image, name: 'hello' }]);
    expect(await validateLayout(images)).toEqual([]);
  });

  test('with a missing blob is not entered in the index', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const layer = await writeLayer(images, 'code', [text('a', 'a')]);
    const image = await putImage(images, {}, [layer]);
    await rm(blobPath(images, layer.digest));
    await expect(addImage(images, 'a', image)).rejects.toMatchObject({ code: 'image.invalid' });
    expect(await listImages(images)).toEqual([]);
  });

  test.for(['/proc/self/fd/8', '/../proc', '//proc/1', '/dev', 'relative'])(
    'may not start in %s',
    async (directory) => {
      await using home = await testDirectory();
      const images = await store(home);
      const image = await putImage(images, { WorkingDir: directory }, []);
      await expect(readManifest(images, image.digest)).rejects.toMatchObject({ code: 'image.invalid' });
    },
  );

  test('many can be entered at once; a name means the last', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    await Promise.all(Array.from({ length: 20 }, (_, n) => smallImage(images, `image ${n}`)));
    expect(await listImages(images)).toHaveLength(20);
    const { image } = await smallImage(images, 'other');
    await addImage(images, 'image 3', image);
    expect((await listImages(images)).filter(({ name }) => name === 'image 3')).toEqual([
      { ...image, name: 'image 3' },
    ]);
    expect(await validateLayout(images)).toEqual([]);
  });
});

describe('damage is found by the validator and by the reader', () => {
  test.for(['layer', 'config', 'manifest'] as const)('one flipped bit in the %s', async (which) => {
    await using home = await testDirectory();
    const images = await store(home);
    const { image, layer } = await smallImage(images, 'hello');
    const { config } = await readManifest(images, image.digest);
    const victim = { layer: layer.digest, config: config.blob.digest, manifest: image.digest }[which];
    await flipBit(blobPath(images, victim), which === 'layer' ? 1030 : 30);
    expect((await validateImage(images, image.digest)).join('\n')).toMatch(/digest|not JSON/);
    const use = async (): Promise<void> => {
      for (const { digest } of (await readManifest(images, image.digest)).layers) {
        await unpackLayer(images, digest, join(home.path, 'out'));
      }
    };
    await expect(use()).rejects.toMatchObject({ code: 'image.invalid' });
    expect((await readdir(home.path)).toSorted()).toEqual(['images']);
    // Made again, it is whole again.
    await smallImage(images, 'hello');
    expect(await validateLayout(images)).toEqual([]);
    await use();
  });

  test('a missing blob, a wrong size, a broken index', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { image, layer } = await smallImage(images, 'hello');
    expect(await validateImage(images, image.digest, image.size + 1)).not.toEqual([]);
    await rm(blobPath(images, layer.digest));
    expect((await validateImage(images, image.digest)).join('\n')).toMatch(/ENOENT/);
    await expect(unpackLayer(images, layer.digest, join(home.path, 'out'))).rejects.toMatchObject({
      code: 'image.invalid',
    });
    await writeFile(join(images, 'index.json'), '{"schemaVersion":2');
    expect((await validateLayout(images)).join('\n')).toMatch(/index.json is not JSON/);
    await expect(listImages(images)).rejects.toMatchObject({ code: 'image.invalid' });
  });

  test('diff ids that belong to other layers', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const layer = await writeLayer(images, 'code', [text('a', 'a')]);
    const image = await putImage(images, {}, [{ ...layer, diffId: digestOf('something else') }]);
    expect((await validateImage(images, image.digest)).join('\n')).toMatch(/diff_id/);
  });
});

describe('garbage collection', () => {
  const later = () => Date.now() + 7_200_000;

  test('takes removed images and their blobs, and nothing another image needs', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const shared = await writeLayer(images, 'base', [text('base', 'base')]);
    const make = async (name: string): Promise<Blob> => {
      const layer = await writeLayer(images, 'code', [text('task/x', name)]);
      const image = await putImage(images, {}, [shared, layer]);
      await addImage(images, name, image);
      return image;
    };
    const [kept, removed] = [await make('kept'), await make('removed')];
    expect(await removeImage(images, removed.digest)).toBe(true);
    expect(await removeImage(images, removed.digest)).toBe(false);
    const collected = await collectGarbage(images, new Set([kept.digest]), { now: later() });
    expect(collected.blobs).toBe(3); // Manifest, configuration, code.
    expect(await validateLayout(images)).toEqual([]);
    expect(await listImages(images)).toHaveLength(1);
    expect(await validateImage(images, removed.digest)).not.toEqual([]);
  });

  test('spares what is young, and what is used again', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { image } = await smallImage(images, 'young');
    expect(await collectGarbage(images, new Set())).toEqual({ blobs: 0, bytes: 0 });
    const old = new Date(Date.now() - 7_200_000);
    for (const name of await readdir(join(images, 'blobs/sha256'))) {
      await utimes(join(images, 'blobs/sha256', name), old, old);
    }
    await smallImage(images, 'young');
    expect(await collectGarbage(images, new Set())).toEqual({ blobs: 0, bytes: 0 });
    await collectGarbage(images, new Set(), { now: later() });
    expect(await readdir(join(images, 'blobs/sha256'))).toEqual([]);
    expect(await listImages(images)).toEqual([]);
    await expect(readManifest(images, image.digest)).rejects.toMatchObject({ code: 'image.invalid' });
  });
});

describe('unpacking', () => {
  test('happens once however many ask, and leaves nothing beside it', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { layer } = await smallImage(images, 'hello');
    const target = join(home.path, 'layers/one');
    await Promise.all(Array.from({ length: 10 }, () => unpackLayer(images, layer.digest, target)));
    const { ino } = await lstat(target);
    await unpackLayer(images, layer.digest, target);
    expect((await lstat(target)).ino).toBe(ino);
    expect(await readdir(join(home.path, 'layers'))).toEqual(['one']);
    expect(await readFile(join(target, 'task/index.js'), 'utf8')).toBe('hello');
  });

  test('removes what a process that is gone left half-done', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { layer } = await smallImage(images, 'hello');
    const target = join(home.path, 'layers/one');
    await mkdir(`${target}.partial-${2 ** 22 + 1}-abcd`, { recursive: true });
    await unpackLayer(images, layer.digest, target);
    expect(await readdir(join(home.path, 'layers'))).toEqual(['one']);
  });

  test('respects the limits it is given', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { layer } = await smallImage(images, 'hello');
    const limits = { entries: 1, bytes: 2 ** 20, pathBytes: 100 };
    const target = join(home.path, 'out');
    await expect(unpackLayer(images, layer.digest, target, limits)).rejects.toMatchObject({ code: 'image.invalid' });
    expect(await readdir(home.path)).toEqual(['images']);
  });

  test('does not write through a link at its target', async () => {
    await using home = await testDirectory();
    const images = await store(home);
    const { layer } = await smallImage(images, 'hello');
    await mkdir(join(home.path, 'victim'));
    await symlink('victim', join(home.path, 'out'));
    await expect(unpackLayer(images, layer.digest, join(home.path, 'out'))).rejects.toThrow('ENOTDIR');
    expect(await readdir(join(home.path, 'victim'))).toEqual([]);
  });
});

test('a store that exists is left as it is; the same bytes are stored once', async () => {
  await using home = await testDirectory();
  const images = await store(home);
  const blob = await putBlob(images, Buffer.from('x'));
  await openLayout(images);
  expect(await putBlob(images, Buffer.from('x'))).toEqual(blob);
  expect(await readdir(join(images, 'blobs/sha256'))).toHaveLength(1);
  expect(JSON.parse(await readFile(join(images, 'oci-layout'), 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
});

const DIGEST_OF_THE_LAYER_ABOVE = 'sha256:4284df819ecc3ee8f39ed223b4fa826f00eb2e3d26fec0c01a7a12eb9512e86b' as Digest;
