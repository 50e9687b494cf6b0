/** Replies meant to confuse the gateway or to reach somebody else (A60), and JSON meant to change the objects of whoever reads
 *  it (A64). After each, other requests get their own answers. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import { EVENT_CASES } from './cases/events.ts';
import { REPLY_CASES, sight } from './cases/replies.ts';

describe.skipIf(skipBecause(notRoot()))('the platform reads', () => {
  let platform: TestPlatform;

  beforeAll(async () => {
    platform = await startPlatform();
    const source = await readFile(join(import.meta.dirname, 'functions/replies/index.js'), 'utf8');
    await platform.deployFiles({
      'fn.yaml': 'name: replies\ntimeout: 1s\nscale: { max: 1 }',
      'package.json': '{"type":"module"}',
      'index.js': source,
    });
    await platform.deployFiles({
      'fn.yaml': 'name: echo\nhandler: index.handler',
      'index.js': 'exports.handler = async (event) => event',
    });
  }, 120_000);
  afterEach(async () => {
    const urls = ['/function/replies/fine?first', '/function/replies/fine?second', '/function/echo'];
    const seen = await Promise.all(urls.map((url) => sight(platform, url)));
    expect(seen).toEqual(['200 fine ?first', '200 fine ?second', expect.stringMatching(/^200 /)]);
    expect(await platform.api.get('/v1/status')).toMatchObject({ healthy: true });
  });
  afterAll(() => platform[Symbol.asyncDispose](), 60_000);

  test.each(REPLY_CASES)('$id: a function $tried: $result', async ({ path, sees }) => {
    const url = `/function/replies/${path}`;
    if (typeof sees === 'function') await sees(platform, url);
    else expect(await sight(platform, url)).toBe(sees);
  });

  test.each(EVENT_CASES)('$id: somebody $tried: $result', async ({ play }) => {
    await play(platform);
  });
});
