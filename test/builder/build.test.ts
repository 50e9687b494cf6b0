/** From a directory to an image: the same each time, only what belongs to the function, clear words about what is wrong. */

import { createWriteStream } from 'node:fs';
import { chmod, readdir, truncate, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { baseLayer } from '../../builder/base.ts';
import { readManifest } from '../../builder/oci/manifest.ts';
import { unpackLayer } from '../../builder/oci/unpack.ts';
import { validateLayout } from '../../builder/oci/validate.ts';
import { packDirectory } from '../../builder/pack.ts';
import { testDirectory, type Tree } from '../support/directory.ts';
import { rejectionOf } from '../support/thrown.ts';
import { workshop, type Workshop } from './support.ts';

const SPEC = { 'fn.yaml': 'name: hello\nhandler: index.default\n' };
const HELLO: Tree = { 'index.js': 'export default () => new Response("hello")', 'package.json': '{"type":"module"}' };

/** Everything in the code layer of an image. */
async function codeOf(shop: Workshop, image: Awaited<ReturnType<Workshop['build']>>): Promise<string[]> {
  const layer = image.layers.find(({ kind }) => kind === 'code');
  const directory = join(shop.home.path, 'code', layer?.digest ?? '');
  const { layers } = await readManifest(shop.store.images, image.image);
  await unpackLayer(shop.store.images, layers.at(-1)?.digest ?? image.image, directory);
  const entries = await readdir(join(directory, 'task'), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + '/task/'.length)).toSorted();
}

describe('an image', () => {
  test('is the same for the same input, on another day, in another place, by another way', async () => {
    await using one = await workshop();
    await using two = await workshop();
    const files = {
      ...HELLO,
      'lib/größe.js': 'x',
      'run.sh': { text: '#!/bin/sh', mode: 0o755 },
      'l.js': { link: 'index.js' },
    };
    const first = await one.build(files);
    const second = await two.build(files, {});
    expect(second.image).toBe(first.image);

    const elsewhere = await two.home.write({ ...SPEC, ...files }, 'by/upload');
    await utimes(join(elsewhere, 'index.js'), 0, 0);
    await chmod(join(elsewhere, 'index.js'), 0o600);
    await chmod(join(elsewhere, 'run.sh'), 0o711);
    const tarball = join(two.home.path, 'upload');
    await pipeline(await packDirectory(elsewhere), createWriteStream(tarball));
    const third = await two.build({}, { source: { tarball } });
    expect(third.image).toBe(first.image);
    expect(third.layers.map(({ kind, cached }) => [kind, cached])).toEqual([
      ['base', true],
      ['code', false],
    ]);
    expect(await validateLayout(two.store.images)).toEqual([]);
    expect(await readdir(join(two.store.cache, 'work'))).toEqual([]);
  });

  test('starts the bootstrap as an ordinary user, and says which handler', async () => {
    await using shop = await workshop();
    const built = await shop.build({ ...HELLO, 'fn.yaml': 'name: greet\nhandler: index.fetch\n' });
    const { config } = await readManifest(shop.store.images, built.image);
    expect(config).toMatchObject({ os: 'linux', created: '1970-01-01T00:00:00Z' });
    expect(config.config).toEqual({
      User: '1000:1000',
      ExposedPorts: { '8080/tcp': {} },
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'FN_FUNCTION=greet', 'FN_HANDLER=index.fetch'],
      Entrypoint: ['/sbin/fn-init', '--', '/usr/local/bin/node', '/opt/fn/bootstrap.mjs'],
      WorkingDir: '/task',
      Labels: { 'dev.fn.function': 'greet', 'dev.fn.runtime': 'node' },
    });
    expect(built.spec.name).toBe('greet');
  });

  test('does not change with limits in fn.yaml, but with one byte of code', async () => {
    await using shop = await workshop();
    const before = await shop.build(HELLO);
    const limits = await shop.build({ ...HELLO, 'fn.yaml': 'name: hello\nhandler: index.default\nmemory: 512Mi\n' });
    expect(limits.image).toBe(before.image);
    expect(limits.spec.memory).toBe(512 * 2 ** 20);
    const code = await shop.build({ ...HELLO, 'index.js': 'export default () => new Response("hallo")' });
    expect(code.image).not.toBe(before.image);
  });

  test('is built many times at once without disorder', async () => {
    await using shop = await workshop();
    const built = await Promise.all(
      Array.from({ length: 8 }, (_, n) => shop.build({ ...HELLO, 'n.js': String(n % 4) })),
    );
    expect(new Set(built.map(({ image }) => image)).size).toBe(4);
    expect(built.filter(({ layers }) => layers[0]?.cached === false)).toHaveLength(1);
    expect(await validateLayout(shop.store.images)).toEqual([]);
  });

  test('whose base layer was lost or damaged is built from a new one', async () => {
    await using shop = await workshop();
    const before = await shop.build(HELLO);
    const base = before.layers[0]?.digest.slice('sha256:'.length) ?? '';
    await writeFile(join(shop.store.images, 'blobs/sha256', base), 'short');
    const after = await shop.build(HELLO);
    expect(after.image).toBe(before.image);
    expect(after.layers[0]?.cached).toBe(false);
    expect(await validateLayout(shop.store.images)).toEqual([]);
  });
});

describe('what belongs to the function', () => {
  test('is not what .gitignore and .fnignore name, nor node_modules, .git and secrets of npm', async () => {
    await using shop = await workshop();
    const built = await shop.build({
      ...HELLO,
      '.gitignore': 'dist\n*.log\n/only-here\nfn.yaml\n.env\n',
      '.fnignore': '!dist\nbig/\n# a comment\n',
      '.npmrc': '//registry.invalid/:_authToken=secret',
      '.git/config': 'x',
      'node_modules/x/index.js': 'x',
      'sub/node_modules/x/index.js': 'x',
      'sub/.gitignore': '*.txt\n!keep.txt\n',
      'sub/a.txt': 'x',
      'sub/keep.txt': 'x',
      'sub/deep/b.txt': 'x',
      'sub/only-here': 'x',
      'only-here': 'x',
      'dist/index.js': 'x',
      'dist/debug.log': 'x',
      'big/file': 'x',
      '.env': 'SECRET=1',
      'Dist/case': 'x',
    });
    expect(await codeOf(shop, built)).toEqual([
      'Dist/case',
      'dist/index.js',
      'index.js',
      'package.json',
      'sub/keep.txt',
      'sub/only-here',
    ]);
  });

  test('is not followed outside: an ignore file that is a link is no ignore file', async () => {
    await using shop = await workshop();
    await shop.home.write({ rules: 'index.js' });
    const built = shop.build({ ...HELLO, '.gitignore': { link: '../rules' } });
    expect(await codeOf(shop, await built)).toContain('index.js');
  });

  test.for<[string, Tree]>([
    ['a link out of the directory', { link: { link: '../../etc/passwd' } }],
    ['an absolute link', { 'a/link': { link: '/etc/passwd' } }],
    ['a link that leaves by a detour', { 'a/link': { link: 'b/../../../x' } }],
  ])('is not %s', async ([, files]) => {
    await using shop = await workshop();
    await expect(shop.build({ ...HELLO, ...files })).rejects.toMatchObject({
      code: 'package.invalid',
      message: expect.stringMatching(/leads outside/) as string,
      hint: expect.stringMatching(/\.fnignore/) as string,
    });
  });

  test('is not a socket; named in .fnignore it is in nobody’s way', async () => {
    await using home = await testDirectory();
    const directory = await home.write({ ...SPEC, ...HELLO });
    const server = createServer().listen(join(directory, 'x.sock'));
    try {
      await expect(packDirectory(directory)).rejects.toMatchObject({ code: 'package.invalid' });
      await home.write({ '.fnignore': '*.sock' });
      await packDirectory(directory);
    } finally {
      server.close();
    }
  });
});

describe('packing', () => {
  test('gives the same bytes for the same files', async () => {
    await using home = await testDirectory();
    const [one, two] = [await home.write({ ...SPEC, ...HELLO }, 'one'), await home.write({ ...HELLO, ...SPEC }, 'two')];
    await utimes(join(two, 'index.js'), 0, 0);
    const bytes = await buffer(await packDirectory(one));
    expect((await buffer(await packDirectory(two))).equals(bytes)).toBe(true);
    expect(gunzipSync(bytes).length % 512).toBe(0);
  });

  test('needs a fn.yaml', async () => {
    await using home = await testDirectory();
    await expect(packDirectory(await home.write(HELLO))).rejects.toMatchObject({ code: 'spec.missing' });
    const other = await home.write({ ...HELLO, 'fn.yml': 'name: hello\n' }, 'other');
    const error = await rejectionOf(packDirectory(other));
    expect(`${error.message}. ${error.hint}`).toMatch(/has fn\.yml, but no fn\.yaml\. Call it fn\.yaml\./);
  });

  test('says that there is no fn.yaml before it looks at what else is there', async () => {
    await expect(packDirectory('/dev')).rejects.toMatchObject({ code: 'spec.missing' }); // Devices cannot be packed.
  });

  test('refuses too much, and names the largest files', async () => {
    await using home = await testDirectory();
    const directory = await home.write({ ...SPEC, ...HELLO });
    await writeFile(join(directory, 'huge.bin'), '');
    await truncate(join(directory, 'huge.bin'), 2 ** 30); // Sparse: takes no room.
    await expect(packDirectory(directory)).rejects.toMatchObject({
      code: 'package.invalid',
      message: expect.stringMatching(/1Gi/) as string,
      hint: expect.stringMatching(/\.fnignore.*huge\.bin \(1Gi\)/) as string,
    });
  });
});

describe('TypeScript', () => {
  const compiled = async (files: Tree) => {
    await using shop = await workshop();
    const built = await shop.build(files);
    const names = await codeOf(shop, built);
    const { config } = await readManifest(shop.store.images, built.image);
    const text = async (path: string) => shop.read(built, 'code', `task/${path}`);
    return { names, env: config.config?.Env ?? [], index: await text('index.js').catch(() => text('index.mjs')) };
  };

  test('becomes JavaScript with every line where it was; declarations stay behind', async () => {
    const { names, env, index } = await compiled({
      'index.ts':
        'import { a } from "./a.mts";\ninterface X { y: string }\nexport default (x: X): string => a + x.y;\n',
      'a.mts': 'export const a: string = "a";',
      'b.cts': 'module.exports = 1 as number;',
      'types.d.ts': 'export type T = string;',
      'types.d.mts': 'export type T = string;',
      'plain.js': '',
    });
    expect(names).toEqual(['a.mjs', 'b.cjs', 'index.js', 'plain.js']);
    expect(index.split('\n')[0]).toBe('import { a } from "./a.mts";');
    expect(index.split('\n')[2]?.replaceAll(/\s+/g, ' ')).toBe('export default (x ) => a + x.y;');
    expect(env).toContain('FN_TYPESCRIPT=1');
  });

  test('may use what is more than types; the file then has its source map', async () => {
    const { index } = await compiled({
      'index.ts': 'enum Colour { Red }\nexport default class { constructor(readonly x: Colour) {} }\n',
    });
    expect(index).toMatch(/Colour\["Red"\] = 0/);
    expect(index).toMatch(/this\.x = x/);
    expect(index).toMatch(/sourceMappingURL=data:/);
  });

  test('with an error is told by file and line', async () => {
    await using shop = await workshop();
    const files = { ...HELLO, 'lib/broken.ts': 'const a = 1;\n\nconst b: number = ;\n' };
    await expect(shop.build(files)).rejects.toMatchObject({
      code: 'build.failed',
      message: expect.stringMatching(/^lib\/broken\.ts:3: Expression expected\nconst b: number = ;\n +\^/) as string,
    });
    await expect(shop.build({ ...HELLO, 'a.ts': 'enum A {}\nclass {' })).rejects.toMatchObject({
      code: 'build.failed',
      message: expect.stringMatching(/^a\.ts:2: /) as string,
    });
  });

  test('beside its own output is one too many', async () => {
    await using shop = await workshop();
    await expect(shop.build({ ...HELLO, 'index.ts': '' })).rejects.toMatchObject({
      code: 'build.failed',
      message: 'index.ts becomes index.js, but there is a index.js already',
    });
  });

  test('leaves an image of JavaScript alone', async () => {
    const { env } = await compiled(HELLO);
    expect(env.join()).not.toMatch(/TYPESCRIPT/);
  });
});

describe('a package that cannot be built is refused with the reason', () => {
  test.for<[string, Tree, string, RegExp]>([
    [
      'a handler that is not there',
      { 'main.js': '', 'lib/a.mjs': '' },
      'handler.missing',
      /there is no index\.js.*there is lib\/a\.mjs, main\.js/,
    ],
    ['no source at all', {}, 'handler.missing', /no source files at all/],
    ['an ignored handler', { ...HELLO, '.gitignore': 'index.js' }, 'handler.missing', /no index\.js/],
    ['a fn.yaml with an unknown key', { ...HELLO, 'fn.yaml': 'name: hello\nmemroy: 1Gi\n' }, 'spec.invalid', /memory/],
    ['a fn.yaml that is a link', { ...HELLO, 'fn.yaml': { link: 'index.js' } }, 'spec.missing', /fn\.yaml/],
    ['a name that images give a meaning to', { ...HELLO, '.wh.index.js': '' }, 'package.invalid', /meaning/],
  ])('%s', async ([, files, code, message]) => {
    await using shop = await workshop();
    const directory = await shop.home.write({ ...SPEC, ...files }, 'source');
    const build = shop.build({}, { source: { directory } });
    await expect(build).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  test.for<[string, (good: Buffer) => Buffer, RegExp]>([
    ['not gzip', () => Buffer.from('{"no": "tar"}'), /damaged/],
    ['not tar', () => gzipSync('x'.repeat(2000)), /damaged/],
    ['cut short', (good) => good.subarray(0, good.length - 20), /damaged/],
    ['altered', (good) => Buffer.concat([good.subarray(0, good.length - 8), Buffer.alloc(8)]), /damaged/],
    ['empty', () => gzipSync(Buffer.alloc(1024)), /no fn\.yaml/],
  ])('an upload that is %s', async ([, damage, message]) => {
    await using shop = await workshop();
    const directory = await shop.home.write({ ...SPEC, ...HELLO }, 'source');
    const tarball = join(shop.home.path, 'upload');
    await writeFile(tarball, damage(await buffer(await packDirectory(directory))));
    await expect(shop.build({}, { source: { tarball } })).rejects.toMatchObject({
      code: expect.stringMatching(/^(package\.invalid|spec\.missing)$/) as string,
      message: expect.stringMatching(message) as string,
    });
    expect(await readdir(join(shop.store.cache, 'work'))).toEqual([]);
  });
});

describe('the base layer', () => {
  test('asks for tini by the name of its package', async () => {
    await using shop = await workshop();
    const base = { ...shop.base, init: '/usr/bin/no-such-tini' };
    await expect(shop.build(HELLO, { base })).rejects.toMatchObject({
      code: 'machine.unsupported',
      hint: expect.stringContaining('apt-get install tini') as string,
    });
  });

  test('is made anew when the bootstrap changes', async () => {
    await using shop = await workshop();
    const first = await baseLayer(shop.store, { base: shop.base });
    const again = await baseLayer(shop.store, { base: shop.base });
    const runtime = new Map([['bootstrap.mjs', '// changed']]);
    const changed = await baseLayer(shop.store, { base: { ...shop.base, runtime: () => runtime } });
    expect(again).toEqual({ ...first, cached: true });
    expect(changed.cached).toBe(false);
    expect(changed.digest).not.toBe(first.digest);
  });
});
