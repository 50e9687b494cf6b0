/** Dependencies, with the real npm against a registry of the test. */

import { readdir, readlink } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { FnError } from '../../core/errors.ts';
import { npmEnvironment } from '../../builder/npm.ts';
import { validateLayout } from '../../builder/oci/validate.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { workshop } from './support.ts';

const envFor = (registry: TestRegistry): NodeJS.ProcessEnv => ({ ...process.env, npm_config_registry: registry.url });
const index = { 'index.js': 'import "left"; export default () => {}' };

/** Processes that work below a directory. */
async function processesIn(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => ((await readlink(`/proc/${pid}/cwd`).catch(() => '')).startsWith(directory) ? pid : '')),
  );
  return found.filter((pid) => pid !== '');
}

async function failureOf(build: Promise<unknown>): Promise<FnError> {
  try {
    await build;
  } catch (error) {
    return error as FnError;
  }
  throw new Error('the build did not fail');
}

describe('dependencies', () => {
  test('are installed from the lock file once; no script of theirs runs; the layer is the same elsewhere', async () => {
    await using trap = await testDirectory();
    const evil = join(trap.path, 'evil');
    await using registry = await startRegistry([
      { name: 'left', files: { 'index.js': 'export default "left"', 'cli.js': '' }, bin: { left: 'cli.js' } },
      { name: 'right', files: { 'index.js': '' }, scripts: { postinstall: `touch ${evil}` } },
    ]);
    await using one = await workshop();
    const files = { ...index, 'package.json': registry.manifest, 'package-lock.json': registry.lock };
    const first = await one.build(files, { env: envFor(registry) });
    expect(first.layers.map(({ kind, cached }) => [kind, cached])).toEqual([
      ['base', false],
      ['deps', false],
      ['code', false],
    ]);
    expect(await one.read(first, 'deps', 'task/node_modules/left/index.js')).toBe('export default "left"');
    expect(await one.read(first, 'deps', 'task/node_modules/.bin/left')).toBe('');
    await expect(one.read(first, 'deps', 'task/node_modules/.package-lock.json')).rejects.toThrow('ENOENT');
    expect(existsSync(evil)).toBe(false);
    const texts = one.progress.map(({ text }) => text).join('\n');
    expect(texts).toMatch(/installing 2 packages from package-lock.json/);
    expect(texts).toMatch(/install scripts are not run.*: right/);
    expect(await readdir(join(one.store.cache, 'work'))).toEqual([]);
    expect(await validateLayout(one.store.images)).toEqual([]);

    const asked = registry.requests.length;
    const changed = { ...files, 'index.js': 'export default () => 2' };
    const second = await one.build(changed, { env: envFor(registry) });
    expect(second.layers.map(({ kind, cached }) => [kind, cached])).toEqual([
      ['base', true],
      ['deps', true],
      ['code', false],
    ]);
    expect(registry.requests.length).toBe(asked);

    await using other = await workshop();
    const elsewhere = await other.build(files, { env: envFor(registry) });
    expect(elsewhere.layers.find(({ kind }) => kind === 'deps')?.digest).toBe(
      first.layers.find(({ kind }) => kind === 'deps')?.digest,
    );
  });

  test('without a lock file are resolved, and that is said', async () => {
    await using registry = await startRegistry([{ name: 'left', files: { 'index.js': 'left' } }]);
    await using shop = await workshop();
    const manifest = JSON.stringify({ dependencies: { left: '^1.0.0' }, devDependencies: { dev: 'file:../dev' } });
    const built = await shop.build({ ...index, 'package.json': manifest }, { env: envFor(registry) });
    expect(await shop.read(built, 'deps', 'task/node_modules/left/index.js')).toBe('left');
    expect(shop.progress.map(({ text }) => text).join('\n')).toMatch(/no package-lock.json/);
  });

  test('of none are no layer', async () => {
    await using shop = await workshop();
    const built = await shop.build({ ...index, 'package.json': '{"type":"module","devDependencies":{"x":"1"}}' });
    expect(built.layers.map(({ kind }) => kind)).toEqual(['base', 'code']);
  });

  test('that do not exist fail the build with what npm says, and leave nothing', async () => {
    await using registry = await startRegistry([]);
    await using shop = await workshop();
    const files = { ...index, 'package.json': '{"dependencies":{"no-such-thing":"1.0.0"}}' };
    const error = await failureOf(shop.build(files, { env: envFor(registry) }));
    expect(error.code).toBe('build.dependency');
    expect(error.message).toMatch(/npm install failed: 404/);
    expect(error.options.logs?.join('\n')).toMatch(/no-such-thing/);
    expect(await readdir(join(shop.store.cache, 'work'))).toEqual([]);
    expect(await readdir(join(shop.store.images, '.partial'))).toEqual([]);
  });

  test('that do not match the lock file fail the build', async () => {
    await using registry = await startRegistry([
      { name: 'left', files: {} },
      { name: 'other', files: {} },
    ]);
    await using shop = await workshop();
    const lock = registry.lock.replace(/"node_modules\/other":\{.*?\}/, '').replace(/,(?=\})/, '');
    const files = { ...index, 'package.json': registry.manifest, 'package-lock.json': lock };
    const error = await failureOf(shop.build(files, { env: envFor(registry) }));
    expect(error.code).toBe('build.dependency');
    expect(error.message).toMatch(/npm ci failed: .*package.json and package-lock.json/);
    expect(error.options.logs?.join('\n')).toMatch(/Missing: other@.* from lock file/);
    expect(error.options.logs?.join('\n')).not.toMatch(/Usage|--omit/);
    expect(error.hint).toMatch(/npm install/);
  });

  test.for([
    ['git+https://host.invalid/x.git', {}],
    ['github:user/repo', {}],
    ['user/repo#main', {}],
    ['file:../../etc', {}],
    ['/etc/thing.tgz', {}],
    ['1.0.0', { 'node_modules/left': { resolved: 'git+ssh://git@host.invalid/x.git#abc' } }],
    ['1.0.0', { 'node_modules/left': { resolved: 'file:/root/secret.tgz' } }],
    ['1.0.0', { 'node_modules/left': { resolved: '../outside', link: true } }],
  ] as const)('from outside a registry are refused: %s %o', async ([version, packages]) => {
    await using shop = await workshop();
    const files = {
      ...index,
      'package.json': JSON.stringify({ dependencies: { left: version } }),
      'package-lock.json': JSON.stringify({ lockfileVersion: 3, packages }),
    };
    await expect(shop.build(files)).rejects.toMatchObject({
      code: 'build.dependency',
      message: expect.stringMatching(/^"left" comes from/) as string,
    });
  });

  test('a package.json that is not JSON is named', async () => {
    await using shop = await workshop();
    await expect(shop.build({ ...index, 'package.json': '{' })).rejects.toMatchObject({
      code: 'package.invalid',
      message: expect.stringMatching(/^package.json cannot be read/) as string,
    });
  });

  test('a .npmrc says where the registry is and nothing else, and stays out of the image', async () => {
    await using registry = await startRegistry([{ name: 'left', files: { 'index.js': 'left' } }]);
    await using shop = await workshop();
    const npmrc = `registry=${registry.url}\nomit=prod\nnode-options=--bad-option\n//h.invalid/:_authToken=\${HOME}\n`;
    const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] };
    const files = { ...index, 'package.json': '{"dependencies":{"left":"1.0.0"}}', '.npmrc': npmrc };
    const built = await shop.build(files, { env });
    expect(await shop.read(built, 'deps', 'task/node_modules/left/index.js')).toBe('left');
    await expect(shop.read(built, 'code', 'task/.npmrc')).rejects.toThrow('ENOENT');
  });
});

describe('npm', () => {
  const files = { ...index, 'package.json': '{"dependencies":{"left":"1.0.0"}}' };

  test('that takes too long is ended with everything it started', async () => {
    await using registry = await startRegistry([], { hang: true });
    await using shop = await workshop();
    const build = shop.build(files, { env: envFor(registry), timeout: 3000 });
    await expect(build).rejects.toMatchObject({
      code: 'build.dependency',
      message: 'npm install did not end within 3s',
    });
    await eventually(async () => expect(await processesIn(shop.store.cache)).toEqual([]));
    expect(await readdir(join(shop.store.cache, 'work'))).toEqual([]);
  });

  test('ends at once when the build is no longer wanted', async () => {
    await using registry = await startRegistry([], { hang: true });
    await using shop = await workshop();
    const wanted = new AbortController();
    const failure = failureOf(shop.build(files, { env: envFor(registry), signal: wanted.signal }));
    await eventually(() => expect(registry.requests).not.toEqual([]));
    expect(await processesIn(shop.store.cache)).not.toEqual([]);
    wanted.abort(new Error('not wanted'));
    expect((await failure).message).toBe('not wanted');
    await eventually(async () => expect(await processesIn(shop.store.cache)).toEqual([]));
    expect(await readdir(join(shop.store.cache, 'work'))).toEqual([]);
  });

  test('that is not installed is asked for', async () => {
    await using shop = await workshop();
    await expect(shop.build(files, { env: { PATH: '/nowhere' } })).rejects.toMatchObject({
      code: 'machine.unsupported',
      hint: 'apt-get install npm',
    });
  });

  test('gets what it needs of the environment and no more', () => {
    const passed = {
      PATH: '/bin',
      HOME: '/root',
      HTTPS_PROXY: 'http://proxy',
      no_proxy: 'localhost',
      NODE_EXTRA_CA_CERTS: '/ca',
      npm_config_registry: 'http://r',
      'npm_config_//r/:_authToken': 't',
      'npm_config_@scope:registry': 'http://s',
    };
    const kept = {
      FN_HOME: '/x',
      REDIS_URL: 'redis://u:p@h',
      NODE_OPTIONS: '-r x',
      npm_config_prefix: '/',
      npm_config_omit: 'x',
    };
    expect(npmEnvironment({ ...passed, ...kept })).toEqual(passed);
  });
});
