import { expect, test } from 'vitest';
import { LOG_MARK } from '../../core/control.ts';
import { Bootstrap, startFunction, BROKEN } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

const instance = (source: string) => startFunction({ files: { 'index.mjs': source } });

test.each([
  ['an error nobody catches', 'setImmediate(() => { throw new RangeError("boom") })'],
  ['a rejection nobody handles', 'Promise.reject(new RangeError("boom"))'],
])('%s ends the instance without a reply, with its stack in the invocation’s log', async (_, source) => {
  await using fn = await instance(`export default () => { ${source}; return new Promise(() => {}) }`);
  await expect(fn.request('/', { headers: { 'x-request-id': 'r1' } })).rejects.toThrow(BROKEN);
  expect(await fn.ended).toBe(1);
  expect(fn.stderr.replaceAll(LOG_MARK, '|')).toMatch(/^\|r1 RangeError: boom\n\|r1 {5}at .*index\.mjs:1:\d+/);
});

test('a function that listens for uncaught errors itself decides itself', async () => {
  await using fn = await instance(`process.on('uncaughtException', (error) => console.log('mine: ' + error.message));
    export default () => { setImmediate(() => { throw new Error('boom') }); return new Response('ok') }`);
  expect((await fn.request('/')).text()).toBe('ok');
  await eventually(() => expect(fn.stdout).toContain('mine: boom'));
  expect((await fn.request('/')).text()).toBe('ok');
});

test('process.exit in a handler breaks the reply off', async () => {
  await using fn = await instance('export default () => process.exit(7)');
  await expect(fn.request('/')).rejects.toThrow(BROKEN);
  expect(await fn.ended).toBe(7);
});

test('SIGTERM ends an idle instance at once, claimed or not', async () => {
  await using fn = await instance('export default () => new Response()');
  await using sandbox = await Bootstrap.start({});
  await sandbox.health();
  for (const one of [fn, sandbox]) {
    one.process.kill('SIGTERM');
    expect(await one.ended).toBe(0);
  }
});

test('SIGTERM lets what is in flight finish, refuses what is new, then ends', async () => {
  await using fn = await instance(`process.once('SIGTERM', () => console.log('asked to end'));
    export default async () => {
      console.log('running');
      await new Promise((resolve) => process.once('SIGUSR2', resolve));
      return new Response('finished') }`);
  const reply = fn.request('/');
  await eventually(() => expect(fn.stdout).toContain('running'));
  fn.process.kill('SIGTERM');
  await eventually(() => expect(fn.stdout).toContain('asked to end'));
  await using other = fn.connect();
  await expect(other.client.request({ method: 'GET', path: '/' })).rejects.toThrow(BROKEN);
  fn.process.kill('SIGUSR2');
  expect((await reply).text()).toBe('finished');
  expect(await fn.ended).toBe(0);
});

test('an idle connection is never closed from this side', async () => {
  await using fn = await instance('export default () => new Response("ok")');
  const { headers } = await fn.request('/');
  expect(headers).not.toHaveProperty('keep-alive');
  expect(headers).not.toHaveProperty('date');
  expect(headers).not.toHaveProperty('connection'); // In HTTP/1.1 that means that it stays open.
});
