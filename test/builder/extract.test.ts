/** Hostile archives against the extractor. Each is extracted into a directory beside a victim; whatever happens, the victim
 *  must be as it was and nothing may appear beside the root. */

import { lstat, mkdir, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { extractTar, type ExtractRules } from '../../builder/oci/extract.ts';
import { testDirectory, type TestDirectory } from '../support/directory.ts';

type Item = Partial<Header> & { name: string; body?: string | Buffer };

async function tar(...items: Item[]): Promise<Buffer> {
  const archive = pack();
  for (const { body, ...header } of items) archive.entry({ mtime: new Date(0), ...header }, body ?? '');
  archive.finalize();
  return buffer(archive);
}

const link = (name: string, linkname: string): Item => ({ name, type: 'symlink', linkname });
const hard = (name: string, linkname: string): Item => ({ name, type: 'link', linkname });
const dir = (name: string, mode = 0o755): Item => ({ name, type: 'directory', mode });
const file = (name: string, body: string | Buffer = 'x', mode = 0o644): Item => ({ name, body, mode });

const limits = { entries: 1000, bytes: 4 * 2 ** 20, pathBytes: 1024 };
const LAYER: ExtractRules = { kind: 'layer', limits };
const PACKAGE: ExtractRules = { kind: 'package', limits };

interface Outcome {
  readonly root: string;
  readonly error: unknown;
}

/** Extracts beside a victim and checks that only the root changed. */
async function attack(home: TestDirectory, bytes: Buffer, rules: ExtractRules): Promise<Outcome> {
  await home.write({ 'victim/secret': 'secret', 'victim/d/kept': 'kept' });
  const root = join(home.path, 'root');
  await mkdir(root, { recursive: true });
  let error: unknown;
  try {
    await extractTar(Readable.from([bytes]), root, rules);
  } catch (thrown) {
    error = thrown;
  }
  expect((await readdir(home.path)).toSorted()).toEqual(['root', 'victim']);
  expect(await readdir(join(home.path, 'victim'))).toEqual(['d', 'secret']);
  expect(await readFile(join(home.path, 'victim/secret'), 'utf8')).toBe('secret');
  expect(await readFile(join(home.path, 'victim/d/kept'), 'utf8')).toBe('kept');
  expect((await stat(join(home.path, 'victim/secret'))).nlink).toBe(1);
  return { root, error };
}

async function names(root: string): Promise<string[]> {
  return (await readdir(root, { recursive: true })).toSorted();
}

describe('an archive is refused when it has', () => {
  const cases: [string, () => Promise<Buffer>, RegExp][] = [
    ['a name that climbs', () => tar(file('../victim/secret')), /leads outside/],
    ['a name that climbs in its middle', () => tar(file('a/../../victim/secret')), /leads outside/],
    ['a PAX path that climbs', () => tar({ ...file('harmless'), pax: { path: '../victim/secret' } }), /leads outside/],
    ['a NUL in a PAX path', () => tar({ ...file('harmless'), pax: { path: 'a\0b' } }), /NUL/],
    ['a link out', () => tar(link('a', '../victim')), /leads outside/],
    ['a link out by a detour', () => tar(link('a/b', 'c/../../../victim')), /leads outside/],
    [
      'two links that leave together (CVE-2026-26960)',
      () => tar(dir('a/b'), link('a/b/up', '../..'), link('a/b/out', 'up/../victim'), hard('own', 'a/b/out/secret')),
      /leads outside/,
    ],
    ['a file written through a link', () => tar(dir('real'), link('a', 'real'), file('a/x')), /used as a directory/],
    ['a directory made through a link', () => tar(dir('real'), link('a', 'real'), dir('a/x/y')), /used as a directory/],
    ['a file used as a directory', () => tar(file('a'), file('a/x')), /used as a directory/],
    ['a hard link out', () => tar(hard('a', '../victim/secret')), /leads outside/],
    ['a hard link to a link', () => tar(link('a', 'b'), hard('c', 'a')), /no file of the archive/],
    ['a hard link to nothing', () => tar(hard('c', '')), /no file of the archive/],
    ['a fifo', () => tar({ name: 'pipe', type: 'fifo' }), /not allowed/],
    ['a file without a name', () => tar(file('./')), /has no name|not allowed/],
    ['too deep a path', () => tar(file(`${'a/'.repeat(1200)}x`)), /longer than 1024/],
    ['too long a name', () => tar(file('n'.repeat(300))), /longer than 255/],
    ['too many entries', () => tar(...Array.from({ length: 1001 }, (_, n) => dir(`d${n}`))), /more than 1000 entries/],
    ['too many bytes', () => tar(file('big', Buffer.alloc(5 * 2 ** 20))), /unpacks to more than/],
    [
      'an end in the middle of a file',
      async () => (await tar(file('a', 'y'.repeat(5000)))).subarray(0, 2048),
      /damaged/,
    ],
    [
      'an end in the middle of a big file',
      async () => (await tar(file('a', Buffer.alloc(3 * 2 ** 20)))).subarray(0, 2 ** 21),
      /damaged/,
    ],
    ['compressed bytes', async () => gzipSync(await tar(file('a'))), /damaged/],
  ];
  for (const [what, make, message] of cases) {
    test.for([LAYER, PACKAGE])(`${what} (%o)`, async (rules) => {
      await using home = await testDirectory();
      const { error } = await attack(home, await make(), rules);
      expect(error).toBeInstanceOf(FnError);
      expect((error as FnError).code).toBe(rules.kind === 'layer' ? 'image.invalid' : 'package.invalid');
      expect((error as FnError).message).toMatch(message);
    });
  }

  test('a size that is a lie', async () => {
    await using home = await testDirectory();
    const bytes = await tar(file('a', 'short'));
    bytes.write('77777777777\0', 124);
    bytes.write('        ', 148);
    const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const { error } = await attack(home, bytes, PACKAGE);
    expect((error as FnError).message).toMatch(/damaged/);
  });

  test.for(['.wh.', '.wh..', '.wh...', 'd/.wh...', 'd/.wh..', '.wh.x/y'])('the whiteout %s', async (name) => {
    await using home = await testDirectory();
    const { root, error } = await attack(home, await tar(file('d/kept'), file(name, '')), LAYER);
    expect((error as FnError).message).toMatch(/whiteout/);
    expect(await names(root)).toContain('d/kept');
  });

  test.for(['a/.wh.secret', 'a/.wh..wh..opq'])('the whiteout %s through a link', async (name) => {
    await using home = await testDirectory();
    const { error } = await attack(home, await tar(dir('real'), link('a', 'real'), file(name, '')), LAYER);
    expect((error as FnError).message).toMatch(/used as a directory/);
  });

  test('devices or absolute names, in a package', async () => {
    await using home = await testDirectory();
    const device = await attack(
      home,
      await tar({ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }),
      PACKAGE,
    );
    expect((device.error as FnError).message).toMatch(/not allowed/);
    const absolute = await attack(home, await tar(file('/abs')), PACKAGE);
    expect((absolute.error as FnError).message).toMatch(/absolute/);
  });

  test('directories that are replaced again and again', async () => {
    await using home = await testDirectory();
    const items = Array.from({ length: 150 }, () => [dir('a'), file('a')]).flat();
    const { error } = await attack(home, await tar(...items), LAYER);
    expect((error as FnError).message).toMatch(/replaces too many/);
  });
});

describe('in a layer', () => {
  test('an absolute name means the root of the image', async () => {
    await using home = await testDirectory();
    const { root, error } = await attack(home, await tar(file('/abs/x')), LAYER);
    expect(error).toBeUndefined();
    expect(await names(root)).toEqual(['abs', 'abs/x']);
  });

  test('an absolute link means the root of the image', async () => {
    await using home = await testDirectory();
    const { root } = await attack(home, await tar(link('usr/bin/sh', '/bin/dash'), link('top', '/')), LAYER);
    expect(await readlink(join(root, 'usr/bin/sh'))).toBe('../../bin/dash');
    expect(await readlink(join(root, 'top'))).toBe('.');
  });

  test('owners, set-id bits and odd modes are not taken over', async () => {
    await using home = await testDirectory();
    const items = [dir('./', 0), file('su', 'x', 0o6755), file('secret', 'x', 0o600), { ...dir('d', 0o700), uid: 5 }];
    const { root } = await attack(home, await tar(...items), LAYER);
    const mode = async (name: string) => (await stat(join(root, name))).mode & 0o7777;
    expect(await mode('su')).toBe(0o755);
    expect(await mode('secret')).toBe(0o644);
    expect(await mode('d')).toBe(0o755);
    expect(await mode('.')).toBe(0o755);
    expect((await stat(join(root, 'd'))).uid).toBe(process.getuid?.());
  });

  test('a restrictive umask of the process does not lock sandboxes out', async () => {
    await using home = await testDirectory();
    const before = process.umask(0o077);
    try {
      const { root } = await attack(home, await tar(file('d/x', 'x', 0o755)), LAYER);
      expect((await stat(join(root, 'd'))).mode & 0o777).toBe(0o755);
      expect((await stat(join(root, 'd/x'))).mode & 0o777).toBe(0o755);
    } finally {
      process.umask(before);
    }
  });

  test('devices, and whatever lies in /dev, /proc and /sys, are left out', async () => {
    await using home = await testDirectory();
    const device: Item = { name: 'opt/null', type: 'character-device', devmajor: 1, devminor: 3 };
    const items = [
      device,
      dir('dev'),
      link('dev/null', '../victim'),
      file('dev/console'),
      file('proc/x'),
      dir('sys/fs'),
    ];
    const { root, error } = await attack(home, await tar(...items), LAYER);
    expect(error).toBeUndefined();
    expect(await names(root)).toEqual(['dev']);
  });

  test.for(['dev', 'proc', 'sys', 'tmp', 'run', 'task'])('/%s is a directory whatever the image says', async (name) => {
    await using home = await testDirectory();
    const { root, error } = await attack(home, await tar(link(name, '../victim')), LAYER);
    expect(error).toBeUndefined();
    expect((await lstat(join(root, name))).isDirectory()).toBe(true);
  });

  test('/tmp can be written by everyone', async () => {
    await using home = await testDirectory();
    const { root } = await attack(home, await tar(dir('tmp'), dir('var/tmp', 0o1777), dir('opt', 0o1777)), LAYER);
    expect((await stat(join(root, 'tmp'))).mode & 0o7777).toBe(0o1777);
    expect((await stat(join(root, 'var/tmp'))).mode & 0o7777).toBe(0o1777);
    expect((await stat(join(root, 'opt'))).mode & 0o7777).toBe(0o755);
  });

  test('whiteouts delete what lay below, not what the layer itself brings', async () => {
    await using home = await testDirectory();
    const lower = await tar(file('a/old'), file('a/gone'), file('b/old'), file('b/sub/old'), link('l', 'a'));
    const upper = await tar(
      file('a/.wh.gone', ''),
      file('a/.wh.own', ''),
      file('a/own'),
      file('b/.wh..wh..opq', ''),
      file('b/new'),
      file('.wh.l', ''),
      file('none/.wh.x', ''),
      file('.wh..wh.plnk', ''),
    );
    await attack(home, lower, LAYER);
    const { root, error } = await attack(home, upper, LAYER);
    expect(error).toBeUndefined();
    expect(await names(root)).toEqual(['a', 'a/old', 'a/own', 'b', 'b/new']);
  });
});

describe('an archive may have', () => {
  test('the same name twice: the last one counts', async () => {
    await using home = await testDirectory();
    const items = [
      file('a', 'first'),
      file('a', 'second'),
      link('l', 'a'),
      file('l', 'file'),
      file('d/x'),
      file('d', 'file'),
    ];
    const { root, error } = await attack(home, await tar(...items), PACKAGE);
    expect(error).toBeUndefined();
    expect(await readFile(join(root, 'a'), 'utf8')).toBe('second');
    expect(await readFile(join(root, 'l'), 'utf8')).toBe('file');
    expect(await readFile(join(root, 'd'), 'utf8')).toBe('file');
  });

  test('a directory where a link was: the link is replaced, not followed', async () => {
    await using home = await testDirectory();
    const { root, error } = await attack(
      home,
      await tar(dir('real'), link('a', 'real'), dir('a'), file('a/x')),
      PACKAGE,
    );
    expect(error).toBeUndefined();
    expect(await names(root)).toEqual(['a', 'a/x', 'real']);
  });

  test('hard links among its files; overwriting one leaves the other', async () => {
    await using home = await testDirectory();
    const { root, error } = await attack(home, await tar(file('a', 'one'), hard('b', 'a'), file('b', 'two')), PACKAGE);
    expect(error).toBeUndefined();
    expect(await readFile(join(root, 'a'), 'utf8')).toBe('one');
    expect(await readFile(join(root, 'b'), 'utf8')).toBe('two');
  });

  test('files of every size, names in any script, newlines in names', async () => {
    await using home = await testDirectory();
    const big = Buffer.alloc(3 * 2 ** 20, 'big');
    const long = `${'ordner/'.repeat(20)}größe-${'ü'.repeat(60)}`;
    const { root, error } = await attack(
      home,
      await tar(file('empty', ''), file('big', big), file(long), file('a\nb')),
      PACKAGE,
    );
    expect(error).toBeUndefined();
    expect((await readFile(join(root, 'big'))).equals(big)).toBe(true);
    expect(await readFile(join(root, long), 'utf8')).toBe('x');
    expect(await names(root)).toContain('a\nb');
    expect((await stat(join(root, 'empty'))).size).toBe(0);
  });
});

test('an extraction that is no longer wanted stops', async () => {
  await using home = await testDirectory();
  await mkdir(join(home.path, 'root'));
  const wanted = new AbortController();
  const endless = new Readable({ read() {} });
  endless.push((await tar(file('a', 'y'.repeat(5000)))).subarray(0, 1024));
  setImmediate(() => wanted.abort(new Error('enough')));
  await expect(extractTar(endless, join(home.path, 'root'), { ...PACKAGE, signal: wanted.signal })).rejects.toThrow(
    'enough',
  );
});
