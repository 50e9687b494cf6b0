/** Start and stop jobs for this node, from the controller. Each says what should be, so doing one twice does no harm. */

import { Worker } from 'bullmq';
import type { Config } from '../core/config.ts';
import { unreachable } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { nodeQueue, type NodeJob, OWN_PREFIX } from '../core/queues.ts';
import { connectRedis } from '../core/redis.ts';
import type { InstanceManager } from './instances/manager.ts';

/** A drain may last as long as an invocation; other jobs go on beside it. */
const CONCURRENCY = 200;

export function consumeNodeJobs(config: Config, manager: InstanceManager, log: Log): AsyncDisposable {
  const connection = connectRedis(config, 'patient');
  const worker = new Worker<NodeJob>(
    nodeQueue(config.nodeId),
    async ({ data }) => {
      switch (data.type) {
        case 'ensure':
          await manager.ensure(data.revision, data.count);
          return {};
        case 'stop':
          return { stopped: await manager.stop(data.instance, data.mode, data.reason) };
        default:
          return unreachable(data);
      }
    },
    { prefix: OWN_PREFIX, connection, concurrency: CONCURRENCY },
  );
  worker.on('error', (error) => log.debug({ err: error }, 'node queue')); // Redis is away; it reconnects.
  return {
    async [Symbol.asyncDispose]() {
      await worker.close(true);
      connection.disconnect();
    },
  };
}
