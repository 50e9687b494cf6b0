/** Secrets of a function: sealed where they lie, in the environment where they are used, handed over in the claim. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const [FIRST, SECOND] = ['canary-of-the-first-value', 'canary-of-the-second-value'];
const INDEX = `
  import { readFileSync } from 'node:fs';
  export default () => Response.json({
    key: process.env.STRIPE_KEY,
    given: ['1', 'self'].map((pid) => readFileSync('/proc/' + pid + '/environ', 'latin1')).join(),
  })`;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform({ FN_LOG_LEVEL: 'trace' });
}, 60_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

const deploy = (name: string): Promise<unknown> =>
  platform.deployFiles({
    'fn.yaml': `name: ${name}\nsecrets: { STRIPE_KEY: stripe }`,
    'package.json': '{"type":"module"}',
    'index.js': INDEX,
  });
const set = (value: string): Promise<unknown> => platform.fn(['secret', 'set', 'stripe'], { input: value });
const seenBy = async (name: string): Promise<{ key?: string; given: string }> =>
  (await (await platform.call(`/function/${name}`)).json()) as { key?: string; given: string };

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test('a function whose secret does not exist is not deployed, and the reason says what to type', async () => {
  await expect(deploy('early')).rejects.toThrow(/there is no secret stripe/);
});

test('a function has its secrets as variables, and nobody else sees them', async () => {
  await set(FIRST);
  await eventually(() => deploy('shop')); // The worker hears of the secret a moment later.
  expect((await seenBy('shop')).key).toBe(FIRST);
  expect((await seenBy('shop')).given).not.toContain(FIRST);
  await platform.deployFiles({
    'fn.yaml': 'name: other',
    'index.js': 'exports.default = () => Response.json(process.env)',
  });
  expect(await (await platform.call('/function/other')).text()).not.toContain(FIRST);
});

test('its value lies in no file of the platform and in no log', async () => {
  expect(JSON.stringify(await platform.api.get<unknown>('/v1/functions/shop'))).not.toContain(FIRST);
  const files = await filesBelow(platform.config.home);
  expect(files.length).toBeGreaterThan(10);
  const holds = await Promise.all(files.map(async (path) => (await readFile(path)).includes(FIRST)));
  expect(files.filter((_, index) => holds[index])).toEqual([]);
  expect(platform.output()).not.toContain(FIRST);
});

test('a new value is in every instance that starts from then on', async () => {
  await set(SECOND);
  const [instance] = await platform.instances('shop');
  process.kill(instance?.pid ?? 0, 'SIGKILL');
  await eventually(async () => expect((await seenBy('shop')).key).toBe(SECOND));
});
