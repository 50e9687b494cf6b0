/** The account of an invocation beside what the function itself burnt: two measures of the same cpu time, not of time. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const WITHIN = 0.03;
const MICROS = 800_000;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
  await platform.deployFiles({
    'fn.yaml': 'name: burner\nscale: { max: 1 }\ntimeout: 60s',
    'package.json': '{"type":"module"}',
    'index.js': await readFile(join(import.meta.dirname, 'functions/burner/index.js'), 'utf8'),
  });
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

async function burn(way: string, micros: number): Promise<{ burnt: number; accounted: number }> {
  const reply = await platform.call('/function/burner', {
    method: 'POST',
    headers: { 'x-fn-account': '1' },
    body: JSON.stringify({ way, micros }),
  });
  const { burnt } = (await reply.json()) as { burnt: number };
  const [, accounted] = /;cpu_us=(\d+);.*;shared=false/.exec(reply.headers.get('x-fn-account') ?? '') ?? [];
  return { burnt, accounted: Number(accounted) };
}

test.each(['alone', 'in the kernel', 'in threads', 'in a child'])(
  'cpu time that is burnt %s is accounted within 3 %',
  async (way) => {
    await burn(way, 1000); // Whatever is loaded once, and what the first request costs, is not what is measured.
    const { burnt, accounted } = await burn(way, MICROS);
    expect(burnt).toBeGreaterThan(MICROS * 0.9);
    const ratio = accounted / burnt;
    expect(Math.abs(ratio - 1), `burnt ${burnt} µs, accounted ${accounted} µs`).toBeLessThan(WITHIN);
  },
  60_000,
);
