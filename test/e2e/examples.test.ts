/** Every example of functions/ does on a whole platform what its README says. */

import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const FUNCTIONS = fileURLToPath(new URL('../../functions/', import.meta.url));

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
  for (const name of await readdir(FUNCTIONS)) await platform.deploy(name);
}, 180_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

test('hello greets', async () => {
  const reply = await platform.call('/function/hello?name=you');
  expect([reply.status, await reply.json()]).toMatchObject([200, { hello: 'you' }]);
});

test('markdown renders with its dependency', async () => {
  const reply = await platform.call('/function/markdown', { method: 'POST', body: '# Title\n\n*text*' });
  expect([reply.status, await reply.text()]).toEqual([200, expect.stringContaining('<em>text</em>')]);
});

test('thumbnail makes a real PNG smaller', async () => {
  const image = await readFile(`${FUNCTIONS}thumbnail/sample.png`);
  const reply = await platform.call('/function/thumbnail?width=160', { method: 'POST', body: new Uint8Array(image) });
  expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'image/png']);
  const small = Buffer.from(await reply.arrayBuffer());
  expect(small.subarray(1, 4).toString()).toBe('PNG');
  expect(small.readUInt32BE(16)).toBe(160); // IHDR: the width
  expect(small.length).toBeLessThan(image.length);
});

test('thumbnail refuses what is no image', async () => {
  const reply = await platform.call('/function/thumbnail', { method: 'POST', body: 'not an image' });
  expect(reply.status).toBe(415);
});

test('stats-ts, TypeScript with an event handler, computes', async () => {
  const reply = await platform.call('/function/stats-ts', { method: 'POST', body: '{"numbers":[1,2,3]}' });
  expect([reply.status, await reply.json()]).toMatchObject([200, { count: 3, mean: 2 }]);
});

test('wordcount counts, and its result is kept with the job', async () => {
  const status = await platform.settled(await platform.submit('/async/wordcount', { text: 'one two two' }));
  expect(status.state).toBe('completed');
  expect(JSON.parse(status.result?.body ?? '')).toMatchObject({ words: 3, different: 2 });
});

test('heartbeat is scheduled', async () => {
  const detail = await platform.api.get<{ triggers: string[] }>('/v1/functions/heartbeat');
  expect(detail.triggers.join()).toContain('cron');
});
