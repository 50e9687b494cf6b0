/** A platform with many small functions, as benchmarks need it: in a home that outlives it, so that it can be started again
 *  with other settings without deploying everything anew. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../../core/clock.ts';
import type { Millis } from '../../core/units.ts';
import { startPlatform, type TestPlatform } from '../../test/support/platform.ts';

export type { TestPlatform } from '../../test/support/platform.ts';

/** Deploys at once; more only queue at the builder. */
const AT_ONCE = 4;
const PROGRESS_EVERY = 25;
const SETTLE_WITHIN: Millis = 120_000;

export function platformIn(home: string, env: Readonly<Record<string, string>> = {}): Promise<TestPlatform> {
  return startPlatform({ FN_HOME: home, ...env });
}

/** So many warm sandboxes and no more, however many are claimed. */
export function poolOf(size: number): Record<string, string> {
  return { FN_POOL: String(size), FN_POOL_MEMORY: String(size * 16 * 2 ** 20) };
}

export function address({ gatewayUrl }: TestPlatform): { host: string; port: number } {
  const { hostname, port } = new URL(gatewayUrl);
  return { host: hostname, port: Number(port) };
}

/** Distinct functions: an image, a code layer and a revision each. */
export async function deployMany(
  platform: TestPlatform,
  home: string,
  names: readonly string[],
  idle: string,
  signal: AbortSignal,
): Promise<void> {
  const waiting = [...names];
  const work = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const directory = join(home, 'sources', name);
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, 'fn.yaml'), `name: ${name}\nscale: { idle: ${idle}, max: 1 }\n`);
      await writeFile(join(directory, 'index.mjs'), `export default () => new Response('${name}');\n`);
      await platform.deploy(directory);
      signal.throwIfAborted();
      if (waiting.length > 0 && waiting.length % PROGRESS_EVERY === 0)
        console.error(`${waiting.length} of ${names.length} left to deploy`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Waits until this many instances run and this many sandboxes are in the pool. */
export async function settled(platform: TestPlatform, instances: number, pool: number): Promise<void> {
  const end = performance.now() + SETTLE_WITHIN;
  for (;;) {
    const facts = await workerFacts(platform);
    if (facts.instances === instances && facts.pool >= pool) return;
    if (performance.now() > end) throw new Error(`not settled: ${JSON.stringify(facts)}, not ${instances}, ${pool}`);
    await sleep(250);
  }
}

interface WorkerFacts {
  readonly instances: number;
  readonly pool: number;
}

async function workerFacts(platform: TestPlatform): Promise<WorkerFacts> {
  const status = await platform.api.get<{ processes: { role: string; facts?: WorkerFacts }[] }>('/v1/status');
  return status.processes.find(({ role }) => role === 'worker')?.facts ?? { instances: -1, pool: -1 };
}
