import { expect, test } from 'vitest';
import { Bootstrap } from '../support/bootstrap.ts';

test('answers health before the claim, refuses everything else, and becomes the function with the claim', async () => {
  await using sandbox = await Bootstrap.start({
    files: { 'index.mjs': 'export default (request) => new Response(process.env.GREETING + process.cwd())' },
    env: { GREETING: 'hi ' },
  });
  expect((await sandbox.request('/_fn/health')).status).toBe(200);
  expect((await sandbox.request('/')).status).toBe(404);
  const claimed = await sandbox.claim();
  expect(claimed.json()).toEqual({ ready: true, ms: expect.any(Number) });
  expect((await sandbox.request('/')).text()).toMatch(/^hi .*\/task$/);
});
