/** The examples of functions/, each as its README calls it: dependencies installed from the lock file without install
 *  scripts, TypeScript stripped, then claimed. */

import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { expect, test, type TestContext } from 'vitest';
import { parseSpecFile } from '../../core/spec-file.ts';
import { nodeFlags } from '../../runtime/node/flags.mjs';
import { type Bootstrap, startFunction } from '../support/bootstrap.ts';

const FUNCTIONS = join(import.meta.dirname, '../../functions');
const RAW = { 'content-type': 'application/vnd.fn.event+json' };

interface Example extends AsyncDisposable {
  readonly directory: string;
  readonly fn: Bootstrap;
}

/** A claimed instance of functions/<name>, in a copy of its directory. Skips the test when npm cannot be reached. */
async function example(context: TestContext, name: string): Promise<Example> {
  const directory = await mkdtemp(join(tmpdir(), 'fn-example-'));
  await cp(join(FUNCTIONS, name), directory, { recursive: true });
  if ((await readdir(directory)).includes('package-lock.json')) await install(context, directory);
  await compile(directory);
  const { handler, env, memory } = parseSpecFile(await readFile(join(directory, 'fn.yaml'), 'utf8'));
  const flags = nodeFlags(memory);
  const fn = await startFunction({
    directory,
    handler,
    flags,
    memoryBytes: memory,
    env: { ...env, FN_TYPESCRIPT: '1' },
  });
  return {
    directory,
    fn,
    async [Symbol.asyncDispose]() {
      await fn[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

async function install(context: TestContext, directory: string): Promise<void> {
  try {
    const args = ['ci', '--ignore-scripts', '--omit=dev', '--no-audit', '--no-fund', '--prefer-offline'];
    await promisify(execFile)('npm', args, { cwd: directory, timeout: 60_000 });
  } catch (error) {
    if (/ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED/.test(String(error))) context.skip('requires the npm registry');
    throw error;
  }
}

async function compile(directory: string): Promise<void> {
  for (const file of await readdir(directory)) {
    if (!file.endsWith('.ts')) continue;
    const path = join(directory, file);
    await writeFile(path, stripTypeScriptTypes(await readFile(path, 'utf8')));
    await rename(path, path.replace(/ts$/, 'js'));
  }
}

test('every example has a specification, a README with a command, and a sample', async () => {
  for (const name of await readdir(FUNCTIONS)) {
    const read = (file: string): Promise<string> => readFile(join(FUNCTIONS, name, file), 'utf8');
    expect(parseSpecFile(await read('fn.yaml')).name).toBe(name);
    expect(await read('README.md')).toMatch(new RegExp(`fn deploy functions/${name}\\n[^]*^curl `, 'm'));
    expect(JSON.parse(await read('example.json'))).toMatchObject({ via: expect.stringMatching(/^(http|queue|cron)$/) });
  }
});

test('lock files have a hash for every package and name no registry', async () => {
  for (const name of await readdir(FUNCTIONS)) {
    const text = await readFile(join(FUNCTIONS, name, 'package-lock.json'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const { packages } = JSON.parse(text) as { packages: Record<string, { integrity?: string; resolved?: string }> };
    delete packages['']; // The function itself.
    for (const { integrity, resolved } of Object.values(packages)) {
      expect({ integrity, resolved }).toEqual({ integrity: expect.stringMatching(/^sha512-/), resolved: undefined });
    }
  }
});

test('hello greets', async (context) => {
  await using hello = await example(context, 'hello');
  expect((await hello.fn.request('/a?name=you')).json()).toEqual({ hello: 'you', path: '/a' });
  expect((await hello.fn.request('/')).json()).toEqual({ hello: 'world', path: '/' });
});

test('markdown renders, and its pages run no script', async (context) => {
  await using markdown = await example(context, 'markdown');
  const body = await readFile(join(markdown.directory, 'sample.md'));
  const reply = await markdown.fn.request('/', { method: 'POST', body });
  expect(reply.headers['content-type']).toBe('text/html; charset=utf-8');
  expect(reply.headers['content-security-policy']).toContain("default-src 'none'");
  expect(reply.text()).toMatch(/<h1>fn<\/h1>\n<p>Send <em>Markdown<\/em>, get <strong>HTML<\/strong>:<\/p>\n<ol>/);
  expect((await markdown.fn.request('/')).status).toBe(405);
});

test('thumbnail makes a smaller image of the same format, and says what is wrong with others', async (context) => {
  await using thumbnail = await example(context, 'thumbnail');
  const post = (path: string, body: Buffer | string) => thumbnail.fn.request(path, { method: 'POST', body });
  const sample = await readFile(join(thumbnail.directory, 'sample.png'));
  const small = await post('/?width=160', sample);
  expect([small.status, small.headers['content-type']]).toEqual([200, 'image/png']);
  expect(pngSize(sample)).toEqual({ width: 640, height: 480 });
  expect(pngSize(small.body)).toEqual({ width: 160, height: 120 });
  expect(small.body.length).toBeLessThan(sample.length);

  const jpeg = await post('/?width=32', Buffer.from(JPEG, 'base64'));
  expect([jpeg.status, jpeg.headers['content-type'], jpeg.body.readUInt16BE(0)]).toEqual([200, 'image/jpeg', 0xffd8]);

  expect((await post('/', 'plain text')).status).toBe(415);
  expect((await post('/', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')).status).toBe(415);
  expect((await post('/', '')).status).toBe(400);
  expect((await post('/', sample.subarray(0, 5000))).status).toBe(400);
  expect((await post('/?width=abc', sample)).json()).toEqual({
    error: 'width must be a whole number from 16 to 2000, not "abc"',
  });
  expect((await post('/?width=3000', sample)).status).toBe(400);
  expect((await post('/', Buffer.alloc(26 * 2 ** 20))).status).toBe(413);
  expect((await thumbnail.fn.request('/')).status).toBe(405);
});

test('thumbnail refuses an image that says it is enormous', async (context) => {
  await using thumbnail = await example(context, 'thumbnail');
  const bomb = await readFile(join(thumbnail.directory, 'sample.png'));
  bomb.writeUInt32BE(60_000, 16);
  bomb.writeUInt32BE(60_000, 20);
  bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
  const reply = await thumbnail.fn.request('/', { method: 'POST', body: bomb });
  expect([reply.status, reply.json()]).toEqual([413, { error: 'an image has at most 50 megapixels' }]);
});

test('stats-ts answers requests and raw events', async (context) => {
  await using stats = await example(context, 'stats-ts');
  const post = (headers: Record<string, string>, body: string) =>
    stats.fn.request('/', { method: 'POST', headers, body });
  const summary = { count: 6, min: 4, max: 42, mean: 18, median: 15.5, deviation: expect.closeTo(12.3153) };
  const body = '{"numbers":[4,8,15,16,23,42]}';
  expect((await post({ 'content-type': 'application/json' }, body)).json()).toEqual(summary);
  expect((await post(RAW, body)).json()).toEqual(summary);
  for (const wrong of ['', '{', '{}', '{"numbers":[]}', '{"numbers":["a"]}']) {
    expect((await post({ 'content-type': 'application/json' }, wrong)).status).toBe(400);
  }
});

test('wordcount counts the words of a job', async (context) => {
  await using wordcount = await example(context, 'wordcount');
  const headers = { 'content-type': 'application/json', 'x-fn-queue': 'texts', 'x-fn-invocation-id': '1' };
  const count = (body: string) => wordcount.fn.request('/', { method: 'POST', headers, body });
  const reply = await count('{"text":"To be, or not to be: that’s Größe! 42"}');
  expect(reply.json()).toEqual({
    words: 9,
    different: 7,
    top: { be: 2, to: 2, '42': 1, größe: 1, not: 1, or: 1, 'that’s': 1 },
  });
  expect((await count('{}')).status).toBe(500);
});

test('heartbeat counts its beats', async (context) => {
  await using heartbeat = await example(context, 'heartbeat');
  const beat = () => heartbeat.fn.request('/', { method: 'POST', headers: RAW, body: '{"schedule":"* * * * *"}' });
  expect((await beat()).json()).toMatchObject({ beat: 1, schedule: '* * * * *' });
  expect((await beat()).json()).toMatchObject({ beat: 2 });
});

function pngSize(image: Buffer): { width: number; height: number } {
  expect(image.subarray(1, 4).toString()).toBe('PNG');
  return { width: image.readUInt32BE(16), height: image.readUInt32BE(20) };
}

/** 64 × 48 pixels of one colour. */
const JPEG =
  '/9j/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBD' +
  'ARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAAwAEAD' +
  'ASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAX/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAA' +
  'AAT/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCcArQgAAAAAAAAAAAAAAAAAAAAAP/Z';
