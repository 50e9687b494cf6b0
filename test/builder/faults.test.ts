/** Builds when something breaks: the builder killed at any moment, a full disk, bytes that are almost an archive. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import type { Digest, FunctionName, RevisionId } from '../../core/ids.ts';
import { MemoryStore } from '../../core/store/memory.ts';
import { extractTar } from '../../builder/oci/extract.ts';
import { listImages } from '../../builder/oci/index-file.ts';
import { validateLayout } from '../../builder/oci/validate.ts';
import { collectImages, prepareStore } from '../../builder/work.ts';
import { testDirectory } from '../support/directory.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import { workshop } from './support.ts';

const HELLO = { 'index.js': 'export default () => {}' };

test('a builder killed at any moment leaves a store in which every image is whole', async () => {
  await using shop = await workshop();
  const { images, cache } = shop.store;
  const script = fileURLToPath(new URL('./build-forever.ts', import.meta.url));
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [script, images, cache], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data'); // One build is done; the kill hits a later one, each time elsewhere in it.
    await sleep(round * 8);
    child.kill('SIGKILL');
    await ended;
    await prepareStore(shop.store);
    expect(await validateLayout(images)).toEqual([]);
    expect(await readdir(join(images, '.partial'))).toEqual([]);
    expect((await listImages(images)).length).toBeGreaterThan(round);
  }
  await shop.build(HELLO);
  expect(await validateLayout(images)).toEqual([]);
});

describe.skipIf(skipBecause(notRoot()))('on a full disk', () => {
  test('a build says so, leaves nothing half-made, and works once there is room', async () => {
    await using shop = await workshop();
    const { images } = shop.store;
    const run = promisify(execFile);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'none', images]);
    try {
      await prepareStore(shop.store);
      await expect(shop.build(HELLO)).rejects.toMatchObject({ code: 'storage.full', status: 507 });
      expect(await readdir(join(images, '.partial'))).toEqual([]);
      expect(await readdir(join(images, 'blobs/sha256'))).toEqual([]);
      await run('mount', ['-o', 'remount,size=64m', images]);
      await shop.build(HELLO);
      expect(await validateLayout(images)).toEqual([]);
    } finally {
      await run('umount', [images]);
    }
  });
});

test('images without a revision are collected, and what they shared is built again when it is needed', async () => {
  await using shop = await workshop();
  const records = new MemoryStore();
  const later = Date.now() + 7_200_000;
  const kept = await shop.build(HELLO);
  await shop.build({ 'index.js': 'another' });
  const revision = (image: Digest) =>
    records.put('revision', 'hello-00001', {
      id: 'hello-00001' as RevisionId,
      function: 'hello' as FunctionName,
      image,
      spec: kept.spec,
      createdAt: 0,
    });
  await revision(kept.image);
  expect((await collectImages(records, shop.store, later)).blobs).toBe(3);
  expect((await listImages(shop.store.images)).map(({ digest }) => digest)).toEqual([kept.image]);
  expect(await validateLayout(shop.store.images)).toEqual([]);

  await records.delete('revision', 'hello-00001');
  await collectImages(records, shop.store, later);
  expect(await readdir(join(shop.store.images, 'blobs/sha256'))).toEqual([]);
  expect(await readdir(join(shop.store.cache, 'layers'))).toEqual([]);
  const again = await shop.build(HELLO);
  expect(again.image).toBe(kept.image);
  expect(again.layers.every(({ cached }) => !cached)).toBe(true);
});

test('bytes that are almost an archive are extracted inside or refused, and nothing else happens', async () => {
  const names = [
    'a',
    'a/b',
    'a/b/c',
    '../x',
    '/x',
    'dev',
    'dev/null',
    '.wh.a',
    'a/.wh..wh..opq',
    'l',
    'l/x',
    './',
    'a/.',
  ];
  const types = ['file', 'directory', 'symlink', 'link', 'fifo', 'character-device', 'contiguous-file'] as const;
  const targets = ['a', '../..', '..', '/', 'a/b/../../../x', '../victim', '/etc/passwd', 'l', ''];
  let seed = 20_260_721;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const pick = <T>(from: readonly T[]): T => from[random(from.length)] as T;
  const outcomes = { extracted: 0, refused: 0 };
  for (let round = 0; round < 600; round++) {
    await using home = await testDirectory();
    await home.write({ 'victim/secret': 'secret' });
    const archive = pack();
    for (let count = 1 + random(8); count > 0; count--) {
      const type = pick(types);
      const header = { name: pick(names), type, linkname: pick(targets), mode: random(0o10000), mtime: new Date(0) };
      archive.entry(header, type === 'file' ? 'y'.repeat(random(1500)) : '');
    }
    archive.finalize();
    const bytes = await buffer(archive);
    // Half of them are also damaged: a few bytes changed, or the end cut off.
    if (random(4) === 0) for (let count = 1 + random(5); count > 0; count--) bytes[random(bytes.length)] = random(256);
    const length = random(4) === 0 ? random(bytes.length) : bytes.length;
    const root = join(home.path, 'root');
    await mkdir(root);
    const kind = pick(['layer', 'package'] as const);
    const limits = { entries: 100, bytes: 2 ** 20, pathBytes: 200 };
    try {
      await extractTar(Readable.from([bytes.subarray(0, length)]), root, { kind, limits });
      outcomes.extracted++;
    } catch (error) {
      if (!(error instanceof FnError)) throw new Error(`round ${round}`, { cause: error });
      outcomes.refused++;
    }
    expect(await readdir(home.path, { recursive: false })).toEqual(['root', 'victim']);
    expect(await readdir(join(home.path, 'victim'))).toEqual(['secret']);
  }
  expect(outcomes.extracted).toBeGreaterThan(20);
  expect(outcomes.refused).toBeGreaterThan(200);
});
