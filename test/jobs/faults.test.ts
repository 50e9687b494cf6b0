import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from './node.ts';

/** Submits until `accepted` jobs were accepted, whatever happens to Redis meanwhile. Returns their ids. */
async function submitAll(node: TestNode, name: string, accepted: number): Promise<string[]> {
  const ids: string[] = [];
  for (let next = 0; ids.length < accepted; next++) {
    const id = `${name}.${next}`;
    try {
      await node.submit(name, id);
      ids.push(id);
    } catch {
      await sleep(20); // Refused: the producer was told so.
    }
  }
  return ids;
}

async function allDone(node: TestNode, name: string, ids: readonly string[]): Promise<void> {
  const queue = node.asyncQueue(name);
  await eventually(async () => {
    const counts = await queue.getJobCounts('completed', 'failed', 'wait', 'active', 'delayed');
    expect(counts).toMatchObject({ failed: 0, wait: 0, active: 0, delayed: 0 });
    expect(counts.completed).toBeGreaterThanOrEqual(ids.length);
  }, 60_000);
  for (const id of ids) expect(await queue.getJobState(id)).toBe('completed');
}

it('loses no accepted job when Redis is killed and restarted under load', { timeout: 90_000 }, async () => {
  await using node = await startNode();
  await node.deploy({ name: 'ledger' });
  node.gateway.answer = async () => {
    await sleep(5);
    return { body: 'ok' };
  };
  const submitting = submitAll(node, 'ledger', 300);
  await eventually(() => expect(node.gateway.calls.length).toBeGreaterThan(50));
  await node.redis.kill();
  await node.redis.start();
  const ids = await submitting;
  await allDone(node, 'ledger', ids);
  const delivered = new Set(node.gateway.calls.map((call) => call.headers['x-fn-invocation-id']));
  expect(ids.filter((id) => !delivered.has(id))).toEqual([]);
});

it('finishes the jobs of a worker that was killed', { timeout: 90_000 }, async () => {
  await using node = await startNode();
  await node.jobs[Symbol.asyncDispose]();
  await node.deploy({ name: 'orphan' });
  const blocked = Promise.withResolvers<void>();
  node.gateway.answer = async () => {
    await blocked.promise;
    return { body: 'ok' };
  };
  const start = (): ChildProcess =>
    spawn(process.execPath, [fileURLToPath(new URL('jobs-process.ts', import.meta.url))], {
      env: { FN_HOME: node.redis.config.home, REDIS_URL: node.redis.config.redisUrl, FN_NODE: 'n1' },
      stdio: 'inherit',
    });
  const kill = async (child: ChildProcess): Promise<void> => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  const ids = await submitAll(node, 'orphan', 50);
  const first = start();
  await eventually(() => expect(node.gateway.calls.length).toBeGreaterThanOrEqual(10));
  await kill(first);
  blocked.resolve();
  const second = start();
  try {
    await allDone(node, 'orphan', ids);
    // A second start is told apart by its number.
    const twice = node.gateway.calls.filter((call) => call.headers['x-fn-attempt'] === '2');
    expect(twice.length).toBeGreaterThan(0);
  } finally {
    await kill(second);
  }
});
