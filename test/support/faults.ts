/** What the tests of faults have in common: two functions, clients that call one of them all the time, and the kill of a
 *  process of the platform. */

import { expect } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { eventually } from './eventually.ts';
import type { TestPlatform } from './platform.ts';

/** The files of a function that answers with the body it was sent. */
export function echo(spec: string): Record<string, string> {
  return {
    'fn.yaml': spec,
    'index.js': 'export default async (request) => new Response(await request.text())',
  };
}

/** A function `work` for jobs: the square of `n`, after `ms` milliseconds. */
export const WORK = {
  'fn.yaml': 'name: work\nhandler: index.handler\nscale: { max: 4 }',
  'index.js':
    'exports.handler = async ({ n, ms = 0 }) => { await new Promise((r) => setTimeout(r, ms)); return { n, square: n * n }; }',
  'package.json': '{"type":"commonjs"}',
};

export interface Calls {
  ok: number;
  readonly failed: string[];
}

/** Eight clients call the function `echo`, one call after the other, until the work is done. It begins once there is load. */
export async function callsDuring(platform: TestPlatform, work: () => Promise<unknown>): Promise<Calls> {
  const calls: Calls = { ok: 0, failed: [] };
  const over = new AbortController();
  const client = async (id: number): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      const body = `${id}:${n}`;
      try {
        const reply = await platform.call('/function/echo', { method: 'POST', body });
        const text = await reply.text();
        if (reply.status === 200 && text === body) calls.ok++;
        else calls.failed.push(`${reply.status} ${text.slice(0, 300)}`);
      } catch (error) {
        calls.failed.push(String((error as Error).cause ?? error));
        await sleep(20);
      }
    }
  };
  const clients = Array.from({ length: 8 }, (_, id) => client(id));
  try {
    await eventually(() => expect(calls.ok).toBeGreaterThan(50), 30_000);
    await work();
  } finally {
    over.abort();
    await Promise.all(clients);
  }
  return calls;
}

/** `kill -9` of the role's process; resolves when another is there. */
export async function killed(platform: TestPlatform, role: Parameters<TestPlatform['pids']>[0]): Promise<void> {
  const [pid = 0] = await platform.pids(role);
  expect(pid).toBeGreaterThan(1);
  process.kill(pid, 'SIGKILL');
  await eventually(async () => {
    const [next] = await platform.pids(role);
    expect(next).toBeDefined();
    expect(next).not.toBe(pid);
  }, 20_000);
}

/** Resolves when every process is healthy and `echo` answers. */
export async function whole(platform: TestPlatform): Promise<void> {
  await eventually(async () => {
    expect((await platform.api.get<{ healthy: boolean }>('/v1/status')).healthy).toBe(true);
    const reply = await platform.call('/function/echo', { method: 'POST', body: 'whole' });
    expect([reply.status, await reply.text()]).toEqual([200, 'whole']);
  }, 40_000);
}
