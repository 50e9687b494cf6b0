/** What users get wrong, and what functions do wrong: each gets its own clear answer, and nothing else suffers. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Problem } from '../../core/errors.ts';
import type { LogLine } from '../../core/logs.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform({ FN_START_TIMEOUT_MS: '3000', FN_BODY_LIMIT: '100000' });
  await platform.deployFiles({ 'fn.yaml': 'name: neighbour', 'index.js': 'export default () => new Response("fine")' });
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

async function neighbourIsFine(): Promise<void> {
  const reply = await platform.call('/function/neighbour');
  expect([reply.status, await reply.text()]).toEqual([200, 'fine']);
}

async function problemOf(reply: Response): Promise<Problem> {
  expect(reply.headers.get('content-type')).toBe('application/problem+json');
  return (await reply.json()) as Problem;
}

const module = (body: string): Record<string, string> => ({ 'package.json': '{"type":"module"}', 'index.js': body });

test.each([
  ['there is no fn.yaml', { 'index.js': '' }, 'spec.missing', /fn.yaml/],
  ['a key is misspelt', { 'fn.yaml': 'name: a\nmemroy: 64Mi', 'index.js': '' }, 'spec.invalid', /:2.*memroy.*memory/s],
  ['the name is not a DNS label', { 'fn.yaml': 'name: My_Function', 'index.js': '' }, 'spec.invalid', /DNS label/],
  [
    'the runtime does not exist',
    { 'fn.yaml': 'name: a\nruntime: cobol', 'index.js': '' },
    'spec.invalid',
    /one of node.*cobol/s,
  ],
  [
    'the handler file does not exist',
    { 'fn.yaml': 'name: a\nhandler: main.run', 'index.js': '' },
    'handler.missing',
    /main/,
  ],
  [
    'the handler is not exported',
    { 'fn.yaml': 'name: a\nhandler: index.run', 'index.js': 'exports.walk = () => 1' },
    'handler.missing',
    /run/,
  ],
  [
    'the module throws while loading',
    { 'fn.yaml': 'name: a', 'index.js': 'throw new Error("boom")' },
    'function.load_failed',
    /boom/,
  ],
  [
    'the module has a syntax error',
    { 'fn.yaml': 'name: a', 'index.js': 'const = 1' },
    'function.load_failed',
    /Syntax/,
  ],
  [
    'the module never finishes loading',
    { 'fn.yaml': 'name: a', ...module('await new Promise(() => setInterval(() => {}, 1000))') },
    'function.start_timeout',
    /not loaded within/,
  ],
  [
    'the module runs out of memory while loading',
    { 'fn.yaml': 'name: a\nmemory: 64Mi', 'index.js': 'const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))' },
    'function.oom',
    /memory/,
  ],
  [
    'the module exits while loading',
    { 'fn.yaml': 'name: a', 'index.js': 'process.exit(3)' },
    'function.load_failed',
    /code 3/,
  ],
  [
    'a dependency cannot be installed',
    { 'fn.yaml': 'name: a', 'index.js': '', 'package.json': '{"dependencies":{"left-pad":"99.99.99"}}' },
    'build.dependency',
    /left-pad/,
  ],
] as const)('a deploy is refused when %s', async (_, files, code, text) => {
  const error = await platform.refusal(files);
  expect([error.code, error.message]).toEqual([code, expect.any(String)]);
  expect(`${error.message} ${error.options.logs?.join('\n')}`).toMatch(text);
  expect(error.hint).not.toBe('');
  await neighbourIsFine();
});

test('a failing revision gets no traffic: what ran before runs on', async () => {
  const files = (body: string): Record<string, string> => ({ 'fn.yaml': 'name: steady', 'index.js': body });
  const { revision } = await platform.deployFiles(files('export default () => new Response("one")'));
  expect((await platform.refusal(files('throw new Error("two")'))).code).toBe('function.load_failed');
  const reply = await platform.call('/function/steady');
  expect([await reply.text(), reply.headers.get('x-fn-revision')]).toEqual(['one', revision]);
});

const misbehaviours = `
export default async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === '/exit') process.exit(3);
  if (pathname === '/kill') process.kill(process.pid, 'SIGKILL');
  if (pathname === '/throw') throw new Error('thrown');
  if (pathname === '/reject') { void Promise.reject(new Error('rejected')); await new Promise(() => {}); }
  if (pathname === '/loop') for (;;);
  if (pathname === '/memory') { const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1)); }
  if (pathname === '/heap') { const kept = []; for (;;) kept.push(new Array(1000).fill(Math.random())); }
  if (pathname === '/late') await new Promise((resolve) => setTimeout(resolve, 5000));
  if (pathname === '/half') return new Response(new ReadableStream({
    start(controller) { controller.enqueue('x'.repeat(1000)); },
    pull() { return new Promise(() => setTimeout(() => process.kill(process.pid, 'SIGKILL'), 200)); },
  }));
  return new Response('fine');
};`;

test.each([
  ['exits', '/exit', 502, 'function.crashed', /code 3/],
  ['kills itself', '/kill', 502, 'function.killed', /SIGKILL/],
  ['leaves a promise rejected', '/reject', 502, 'function.crashed', /code 1/],
  ['loops for ever', '/loop', 504, 'function.timeout', /1/],
  ['allocates buffers without bound', '/memory', 502, 'function.oom', /memory/],
  ['fills its heap without bound', '/heap', 502, 'function.oom', /memory/],
  ['answers after its timeout', '/late', 504, 'function.timeout', /1/],
] as const)('a function that %s is told apart', async (_, path, status, code, text) => {
  await platform.deployFiles({
    // Time enough to fill the memory, unless time is what it is about.
    'fn.yaml': `name: rogue\nmemory: 128Mi\ntimeout: ${code === 'function.timeout' ? '1s' : '20s'}`,
    ...module(misbehaviours),
  });
  const reply = await platform.call(`/function/rogue${path}`);
  const problem = await problemOf(reply);
  expect([reply.status, problem.code, problem.status]).toEqual([status, code, status]);
  expect(problem.detail).toMatch(text);
  expect(problem.requestId).toBe(reply.headers.get('x-request-id'));
  // Its log says it too, which is where one looks first.
  const id = code === 'function.timeout' ? String(problem.requestId) : undefined;
  await eventually(async () => {
    const lines: LogLine[] = [];
    const path = `/v1/functions/rogue/logs${id === undefined ? '' : `?invocation=${id}`}`;
    for await (const line of platform.api.lines<LogLine>(path)) lines.push(line);
    const last = lines.filter(({ from }) => from === 'platform').at(-1);
    expect(last?.text).toMatch(text);
  });
  expect(await (await platform.call('/function/rogue/')).text()).toBe('fine');
  await neighbourIsFine();
});

test('a function that throws answers 500 and lives on', async () => {
  const reply = await platform.call('/function/rogue/throw');
  expect(reply.status).toBe(500);
  const next = await platform.call('/function/rogue/');
  expect(next.headers.get('x-fn-instance')).toBe(reply.headers.get('x-fn-instance'));
});

test('half a reply and then death is a broken reply, never a whole one', async () => {
  const reply = await platform.call('/function/rogue/half');
  await expect(reply.text()).rejects.toThrow(/terminated|aborted|closed|socket/);
  expect(await (await platform.call('/function/rogue/')).text()).toBe('fine');
});

test('a body over the limit is 413 before the function runs', async () => {
  const reply = await platform.call('/function/rogue/', { method: 'POST', body: 'x'.repeat(100_001) });
  expect([reply.status, (await problemOf(reply)).code]).toEqual([413, 'body.too_large']);
});

test('a function that does not exist is 404, sync and async', async () => {
  for (const [path, method] of [
    ['/function/nobody', 'GET'],
    ['/async/nobody', 'POST'],
  ] as const) {
    const reply = await platform.call(path, { method });
    expect([reply.status, (await problemOf(reply)).code]).toEqual([404, 'function.not_found']);
  }
});
