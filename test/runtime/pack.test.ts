import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeFlags } from '../../runtime/node/flags.mjs';
import { packedRuntime } from '../../runtime/node/pack.mjs';
import { Bootstrap, startFunction, writeFiles } from '../support/bootstrap.ts';

async function packed(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'fn-pack-'));
  await writeFiles(path, Object.fromEntries(packedRuntime()));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test.each([
  ['web standard', 'export default async (request) => Response.json(await request.json())'],
  ['event', 'export const handler = async ({ body }) => ({ statusCode: 200, body })'],
  ['node', 'export default (req, res) => req.pipe(res)'],
])('the packed bootstrap serves %s handlers, warmed and with the flags of the worker', async (_, source) => {
  await using runtime = await packed();
  const flags = nodeFlags(64 * 2 ** 20);
  await using fn = await startFunction({ runtime: runtime.path, flags, files: { 'index.mjs': source }, warm: true });
  expect((await fn.request('/', { method: 'POST', body: '{"a":1}' })).json()).toEqual({ a: 1 });
  expect(fn.stderr).toBe('');
});

test('warming up leaves node’s modules compiled as node brings them, for the function too, and no gc behind', async () => {
  await using runtime = await packed();
  await using fn = await startFunction({
    runtime: runtime.path,
    flags: [...nodeFlags(64 * 2 ** 20), '--expose-internals', '--no-warnings'],
    files: {
      'index.cjs': `const { internalBinding } = require('internal/test/binding'); require('node:http2');
        const { compiledWithCache, compiledWithoutCache } = internalBinding('builtins').getCacheUsage();
        const found = { cached: compiledWithCache.has('http2'), others: [...compiledWithoutCache], gc: typeof gc };
        exports.handler = () => found`,
    },
    handler: 'index.handler',
    warm: true,
  });
  expect((await fn.request('/')).json()).toEqual({ cached: true, others: [], gc: 'undefined' });
});

test('the packed bootstrap has what it imports when it must', async () => {
  await using runtime = await packed();
  await using fn = await startFunction({
    runtime: runtime.path,
    files: {
      'index.mjs': 'import { a } from "./a.ts"; export default () => new Response(a)',
      'a.js': 'export const a = "a"',
    },
    env: { FN_TYPESCRIPT: '1' },
  });
  expect((await fn.request('/')).text()).toBe('a');
});

test('packing the same files gives the same bytes', () => {
  expect([...packedRuntime()]).toEqual([...packedRuntime()]);
});

test.each([
  [
    'the same name in two modules',
    { 'bootstrap.mjs': "import { b } from './b.mjs';\nconst a = b;\n", 'b.mjs': 'const a = 1;\nexport const b = a;\n' },
    'a is declared in b.mjs and in bootstrap.mjs',
  ],
  ['a form of export it does not know', { 'bootstrap.mjs': 'const a = 1;\nexport { a };\n' }, 'cannot be joined'],
])('%s is refused', async (_, files, message) => {
  const directory = await mkdtemp(join(tmpdir(), 'fn-pack-'));
  try {
    await mkdir(directory, { recursive: true });
    await writeFiles(directory, files);
    expect(() => packedRuntime(directory)).toThrow(message);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('what it compiled in one process is taken by the next, at any memory size', async () => {
  await using runtime = await packed();
  const start = (memoryMiB: number) =>
    Bootstrap.start({
      runtime: runtime.path,
      flags: nodeFlags(memoryMiB * 2 ** 20),
      files: { 'index.mjs': 'export default () => new Response("ok")' },
    });
  {
    await using first = await start(128);
    expect((await first.health()).json()).toEqual({ claimed: false, compiled: false });
    const { code } = (await first.ask('/_fn/code')).json() as { code: string };
    await writeFile(join(runtime.path, 'bootstrap.code'), Buffer.from(code, 'base64'));
  }
  for (const memoryMiB of [64, 128, 512]) {
    await using next = await start(memoryMiB);
    expect((await next.health()).json()).toEqual({ claimed: false, compiled: true });
    await next.claim();
    expect((await next.request('/')).text()).toBe('ok');
  }
});

test('code that does not fit is no code', async () => {
  await using runtime = await packed();
  await writeFile(join(runtime.path, 'bootstrap.code'), 'of another version');
  await using fn = await Bootstrap.start({ runtime: runtime.path });
  expect((await fn.health()).json()).toEqual({ claimed: false, compiled: false });
});
