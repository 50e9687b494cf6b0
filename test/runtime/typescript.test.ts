import { expect, test } from 'vitest';
import { Bootstrap, startFunction } from '../support/bootstrap.ts';

/** As the builder leaves it: types gone, .ts renamed to .js, specifiers as written. */
const FILES = {
  'package.json': '{"type":"module"}',
  'index.js': `import { a } from './a.ts'; import { b } from './lib/b'; import { c } from './lib/c.mts';
    import { real } from './real.ts'; import { d } from './d.js'; import dep from 'dep';
    import { x } from './lib'; const { lazy } = await import('./lib/lazy.ts');
    export default () => Response.json([a, b, c, real, d, dep, x, lazy])`,
  'a.js': 'export const a = "a.js"',
  'lib/b.js': 'import { up } from "../up.ts"; export const b = "b.js+" + up',
  'up.js': 'export const up = "up.js"',
  'lib/c.mjs': 'export const c = "c.mjs"',
  'lib/index.js': 'export const x = "lib/index.js"',
  'lib/lazy.js': 'export const lazy = "lazy.js"',
  'real.ts': 'export const real: string = "real.ts"',
  'real.js': 'export const real = "real.js"',
  'd.js': 'export const d = "d.js"',
  'node_modules/dep/package.json': '{"name":"dep","exports":"./main.cjs"}',
  'node_modules/dep/main.cjs':
    'module.exports = require("./inner") + (() => { try { require("./gone.ts") } catch { return "" } })()',
  'node_modules/dep/inner.js': 'module.exports = "dep"',
};

test('specifiers of compiled TypeScript find the compiled files', async () => {
  await using fn = await startFunction({ files: FILES, env: { FN_TYPESCRIPT: '1' } });
  expect((await fn.request('/')).json()).toEqual([
    'a.js',
    'b.js+up.js',
    'c.mjs',
    'real.ts',
    'd.js',
    'dep',
    'lib/index.js',
    'lazy.js',
  ]);
});

test('compiled CommonJS finds them too', async () => {
  await using fn = await startFunction({
    files: {
      'index.cjs': 'const { a } = require("./a.cts"); exports.handler = async () => a',
      'a.cjs': 'exports.a = "a.cjs"',
    },
    handler: 'index.handler',
    env: { FN_TYPESCRIPT: '1' },
  });
  expect((await fn.request('/')).json()).toBe('a.cjs');
});

test('other functions keep node’s rules', async () => {
  await using sandbox = await Bootstrap.start({ files: FILES });
  const reply = await sandbox.claim();
  expect(reply.json()).toMatchObject({
    error: { kind: 'load', message: expect.stringContaining("Cannot find module 'a.ts'") },
  });
});
