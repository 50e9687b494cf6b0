import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'bullmq';
import { expect, it } from 'vitest';
import { openQueue, OWN_PREFIX } from '../../core/queues.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { consumerOf, isGone, takeBack } from '../../worker/jobs/take-back.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis } from '../support/redis.ts';

it("starts again at once what this node's dead consumer held, and leaves theirs to living ones and other nodes", async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startRedis());
  const redis = stack.adopt(connectRedis(server.config, 'patient'), (one) => one.disconnect());
  await waitForRedis(redis, 10_000);
  const queue = stack.adopt(openQueue<string>('q', redis), (one) => one.close());
  const consume = (owner: string, done: string[]): Worker<string> =>
    stack.adopt(
      new Worker<string>('q', async (job) => void done.push(job.data), {
        prefix: OWN_PREFIX,
        connection: redis,
        name: owner,
        autorun: false,
      }),
      (one) => one.close(true),
    );
  // Taken by hand and never heard of again, as after kill -9.
  await queue.addBulk(['mine', 'theirs', 'kept'].map((data) => ({ name: data, data })));
  const gone = spawn('true');
  await once(gone, 'exit');
  await consume(`node-a/${gone.pid}`, []).getNextJob('dead-a');
  await consume(consumerOf('node-b'), []).getNextJob('alive-b');
  await consume(`node-a/${process.ppid}`, []).getNextJob('alive-a');

  const done: string[] = [];
  await takeBack(redis, { prefix: OWN_PREFIX, name: 'q' }, isGone('node-a'));
  void consume(consumerOf('node-a'), done).run();
  await eventually(async () => {
    expect(done).toEqual(['mine']);
    expect(await queue.getCompletedCount()).toBe(1);
    expect(await queue.getActiveCount()).toBe(2);
  });
});
