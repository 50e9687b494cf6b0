/** Start and stop jobs for this node, from the controller. Each says what should be, so doing one twice does no harm. */

import { Worker } from 'bullmq';
import type { Config } from '../core/config.ts';
import { toFnError, unreachable } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { nodeQueue, type NodeJob, OWN_PREFIX } from '../core/queues.ts';
import { connectRedis } from '../core/redis.ts';
import type { InstanceManager } from './instances/manager.ts';
import { takeBack } from './jobs/take-back.ts';

/** A drain may last as long as an invocation; other jobs go on beside it. */
const CONCURRENCY = 200;

export function consumeNodeJobs(config: Config, manager: InstanceManager, log: Log): AsyncDisposable {
  const connection = connectRedis(config, 'patient');
  const queue = nodeQueue(config.nodeId);
  const owner = `node-${config.nodeId}`; // There is one worker at a time that may do them.
  const worker = new Worker<NodeJob>(
    queue,
    async ({ data }) => {
      try {
        return await perform(data, manager);
      } catch (error) {
        // The controller reads why from the failed job: a refused start is its candidate's verdict.
        throw new Error(JSON.stringify(toFnError(error).toProblem({ component: 'worker' })), { cause: error });
      }
    },
    { prefix: OWN_PREFIX, connection, concurrency: CONCURRENCY, name: owner, autorun: false },
  );
  worker.on('error', (error) => log.debug({ err: error }, 'node queue')); // Redis is away; it reconnects.
  void takeBack(connection, { prefix: OWN_PREFIX, name: queue }, (one) => one === owner)
    .catch((error: unknown) => log.warn({ err: error }, 'jobs of the last worker not taken back')) // Their locks run out.
    .then(() => worker.run())
    .catch((error: unknown) => log.error({ err: error }, 'node queue ended'));
  return {
    async [Symbol.asyncDispose]() {
      await worker.close(true);
      connection.disconnect();
    },
  };
}

async function perform(job: NodeJob, manager: InstanceManager): Promise<object> {
  switch (job.type) {
    case 'ensure':
      await manager.ensure(job.revision, job.count);
      return {};
    case 'stop':
      return { stopped: await manager.stop(job.instance, job.mode, job.reason) };
    default:
      return unreachable(job);
  }
}
