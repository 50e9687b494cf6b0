/** A worker killed while twenty instances serve: nobody who calls them notices, all are taken over as they are, and what they
 *  write to their logs meanwhile is read on. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LogLine } from '../../core/logs.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const INSTANCES = 20;
/** Calls of each client before the kill, and after the new worker has taken over. */
const AROUND = 10;
const NAME = 'steady';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
  await platform.deployFiles({
    // Slow enough that as many calls as instances are under way at once.
    'fn.yaml': `name: ${NAME}\nscale: { min: ${INSTANCES}, max: ${INSTANCES} }`,
    'package.json': '{"type":"module"}',
    'index.js': `
      import { randomUUID } from 'node:crypto';
      const life = randomUUID();
      export default async (request) => {
        const call = await request.text();
        console.log(call);
        await new Promise((resolve) => setTimeout(resolve, 50));
        return Response.json({ call, life });
      };`,
  });
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

test('all twenty are adopted, no call is lost, none starts again, and log lines go on', async () => {
  const before = await eventually(async () => {
    const instances = await platform.instances(NAME);
    if (instances.length === INSTANCES) return instances;
    const detail = JSON.stringify(await platform.api.get(`/v1/functions/${NAME}`));
    throw new Error(`${instances.length} instances: ${detail}\n${platform.output()}`);
  }, 60_000);
  const over = new AbortController();
  const lives = new Map<string, string>();
  const failed: string[] = [];
  const progress = Array.from({ length: INSTANCES }, () => 0);
  /** Calls that began when there was no worker, or a new one. */
  const afterKill: string[] = [];
  let isKilled = false;

  const call = async (name: string): Promise<void> => {
    if (isKilled) afterKill.push(name);
    try {
      const reply = await platform.call(`/function/${NAME}`, { method: 'POST', body: name });
      const text = await reply.text();
      const said = reply.status === 200 ? (JSON.parse(text) as { call: string; life: string }) : undefined;
      if (said?.call === name) lives.set(reply.headers.get('x-fn-instance') ?? '', said.life);
      else failed.push(`${reply.status} ${text}`);
    } catch (error) {
      failed.push(String(error));
    }
  };
  const client = async (id: number): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      await call(`${id}:${n}`);
      progress[id] = n + 1;
    }
  };
  const everyoneReaches = (goal: readonly number[]): Promise<void> =>
    eventually(() => expect(progress.every((n, id) => n >= (goal[id] ?? 0))).toBe(true), 30_000);

  const clients = Array.from({ length: INSTANCES }, (_, id) => client(id));
  try {
    await everyoneReaches(progress.map(() => AROUND));
    const livesBefore = new Map(lives);
    expect([...livesBefore.keys()].toSorted()).toEqual(before.map(({ id }) => id).toSorted());

    const [worker = 0] = await platform.pids('worker');
    process.kill(worker, 'SIGKILL');
    isKilled = true;
    await eventually(async () => {
      const [next] = await platform.pids('worker');
      expect(next !== undefined && next !== worker).toBe(true);
      const { healthy } = await platform.api.get<{ healthy: boolean }>('/v1/status');
      expect(healthy).toBe(true);
      expect(platform.output()).toMatch(new RegExp(`"adopted":${INSTANCES}\\b|"adopted":(2[1-9]|[3-9]\\d)`));
    }, 40_000);
    await everyoneReaches(progress.map((n) => n + AROUND));
    over.abort();
    await Promise.all(clients);

    expect(failed).toEqual([]);
    expect(lives).toEqual(livesBefore); // Twenty, and each is the process that it was.
    expect(await platform.instances(NAME)).toEqual(before);
  } finally {
    over.abort();
    await Promise.all(clients);
  }

  await eventually(async () => {
    const lines: LogLine[] = [];
    for await (const line of platform.api.lines<LogLine>(`/v1/functions/${NAME}/logs`)) lines.push(line);
    const written = new Set(lines.map(({ text }) => text));
    expect(afterKill.filter((name) => !written.has(name))).toEqual([]);
    expect(lines.filter(({ from }) => from === 'platform')).toEqual([]);
  });
  expect(afterKill.length).toBeGreaterThanOrEqual(INSTANCES * AROUND);
}, 180_000);
