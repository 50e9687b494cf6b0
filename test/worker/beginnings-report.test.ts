import { expect, test } from 'vitest';
import type { NodeId, RevisionId } from '../../core/ids.ts';
import { BEGINNINGS_HASH } from '../../core/queues.ts';
import type { BeginningsReport } from '../../core/records.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { Beginnings } from '../../worker/instances/beginnings.ts';
import { reportBeginnings } from '../../worker/instances/beginnings-report.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis } from '../support/redis.ts';

const NODE = 'n1' as NodeId;
const A = 'a-00001' as RevisionId;

test('what is under way is in Redis, anew again and again, and gone when nothing is', async () => {
  await using server = await startRedis();
  const redis = connectRedis(server.config, 'failFast');
  using _ = { [Symbol.dispose]: () => redis.disconnect() };
  await waitForRedis(redis, 5000);
  const told = async (): Promise<BeginningsReport | undefined> => {
    const text = await redis.hget(BEGINNINGS_HASH, NODE);
    return text === null ? undefined : (JSON.parse(text) as BeginningsReport);
  };
  await redis.hset(BEGINNINGS_HASH, NODE, JSON.stringify({ at: 1, revisions: { [A]: 7 } })); // Of a killed worker.
  const beginnings = new Beginnings();
  {
    await using __ = reportBeginnings(redis, NODE, beginnings);
    await eventually(async () => expect(await told()).toBeUndefined());
    const start = beginnings.add(A);
    const first = await eventually(async () => {
      const report = await told();
      expect(report).toMatchObject({ revisions: { [A]: 1 } });
      return report;
    });
    await eventually(async () => expect((await told())?.at).toBeGreaterThan(first?.at ?? 0));
    start[Symbol.dispose]();
    await eventually(async () => expect(await told()).toBeUndefined());
    beginnings.add(A);
    await eventually(async () => expect(await told()).toMatchObject({ revisions: { [A]: 1 } }));
  }
  expect(await told()).toBeUndefined();
});
