/** Job consumers of a node: they take jobs from Redis, have this node's gateway answer them, and settle them. No function
 *  code runs here, so a lock is renewed however busy a function is. Consumers reconnect by themselves when Redis comes back. */

import type { ServiceContext } from '../../core/service.ts';
import { connectRedis } from '../../core/redis.ts';
import { Tracer } from '../../core/tracer.ts';
import type { Snapshot } from '../../core/store/snapshot.ts';
import { AsyncConsumers } from './async-consumers.ts';
import type { ConsumerDeps } from './consumer.ts';
import { Deliverer } from './deliver.ts';
import { LiveFunctions } from './functions.ts';
import { TriggerConsumers } from './trigger-consumers.ts';

export interface Jobs extends AsyncDisposable {
  /** Takes no more; resolves when those that run have ended. On the signal they go back to the queue. */
  finish(giveUp: AbortSignal): Promise<void>;
  /** Consumers open at the moment, for `fn status`. */
  facts(): { readonly queues: number; readonly asyncQueues: number };
}

export interface JobsDeps extends Pick<ServiceContext, 'config' | 'log' | 'metrics' | 'redis'> {
  /** Of functions and revisions; stays the caller's. */
  readonly snapshot: Snapshot;
}

export async function startJobs({ config, log, metrics, redis, snapshot }: JobsDeps): Promise<Jobs> {
  await using stack = new AsyncDisposableStack();
  const patient = stack.adopt(connectRedis(config, 'patient'), (connection) => connection.disconnect());
  patient.setMaxListeners(0); // Every consumer listens to the shared connection.
  const deliverer = stack.use(new Deliverer(config.paths.gatewaySocket));
  const tracer = Tracer.open({ config, role: 'worker', log, metrics });
  stack.defer(() => tracer?.[Symbol.asyncDispose]());
  const functions = new LiveFunctions(snapshot);
  const ending = new AbortController();
  const place = `jobs-${config.nodeId}`;
  const deps: ConsumerDeps = {
    redis: patient,
    deliverer,
    tracer,
    log,
    metrics,
    place,
    giveUp: ending.signal,
    opened: new Set(),
  };
  const triggers = stack.use(new TriggerConsumers(config, functions, deps));
  const asyncs = stack.use(new AsyncConsumers(config, redis, functions, deps));
  stack.use(
    snapshot.subscribe(() => {
      void triggers.sync();
      asyncs.look();
    }),
  );
  await triggers.sync();
  const owned = stack.move();
  return {
    facts: () => ({ queues: triggers.size, asyncQueues: asyncs.size }),
    async finish(giveUp) {
      giveUp.addEventListener('abort', () => ending.abort(), { once: true });
      if (giveUp.aborted) ending.abort();
      await owned.disposeAsync();
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await owned.disposeAsync();
    },
  };
}
