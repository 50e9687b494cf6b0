/** The gateway alone in a process: a store in memory, and a worker that lists one instance, the socket given. Argument: a
 *  GatewaySetup as JSON. */

import { createServer } from 'node:net';
import { join } from 'node:path';
import type { AccountFiles } from '../../core/account.ts';
import { loadConfig } from '../../core/config.ts';
import type { GatewayCalls, WorkerCalls } from '../../core/control.ts';
import type { Digest, FunctionName, InstanceId, NodeId, RevisionId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import { connectRedis } from '../../core/redis.ts';
import { RpcPeer } from '../../core/rpc.ts';
import { listenTcp } from '../../core/sockets.ts';
import { specSchema } from '../../core/spec.ts';
import { MemoryStore } from '../../core/store/memory.ts';
import { createGateway } from '../../gateway/gateway.ts';

export interface GatewaySetup {
  /** FN_HOME. */
  readonly home: string;
  /** The instance's. */
  readonly socket: string;
  /** How many are deployed; one of them has the instance. */
  readonly functions: number;
  /** Invocations at once in the instance. */
  readonly concurrency?: number;
  /** Where invocations are written down; without it they are not. */
  readonly redisUrl?: string;
  /** The instance's; without it invocations have no account. */
  readonly account?: AccountFiles;
}

const setup = JSON.parse(process.argv[2] ?? '{}') as GatewaySetup;
const { home, socket, functions, concurrency = 1000, redisUrl, account } = setup;

const store = new MemoryStore();
for (let n = 0; n < functions; n++) {
  const spec = specSchema.parse({
    name: n === 0 ? 'bench' : `bench-${n}`,
    concurrency,
    scale: { max: 1 },
    timeout: '10m', // A gigabyte's upload on a busy machine takes longer than the usual 30 s.
  });
  const { name } = spec;
  const id = `${name}-00001` as RevisionId;
  const image = `sha256:${'0'.repeat(64)}` as Digest;
  await store.put('revision', id, { id, function: name, image, spec, createdAt: 0 });
  await store.put('function', name, {
    name,
    traffic: [{ revision: id, weight: 100 }],
    latest: 1,
    createdAt: 0,
    updatedAt: 0,
  });
}

const config = loadConfig({ ...process.env, FN_HOME: home, ...(redisUrl && { REDIS_URL: redisUrl }) });
const workerSocket = join(home, 'w.sock');
const instance = {
  id: 'bench-00000001' as InstanceId,
  function: 'bench' as FunctionName,
  revision: 'bench-00001' as RevisionId,
  socket,
  concurrency,
  start: 'cold',
  ...(account && { account }),
} as const;
const worker = createServer((connection) => {
  const unused = (): never => {
    throw new Error('not in this benchmark');
  };
  const peer = new RpcPeer<GatewayCalls, WorkerCalls>(connection, {
    hello: () => ({ node: 'bench' as NodeId, instances: [instance] }),
    leaving: unused,
    acquire: unused,
    loaded: unused,
    kill: unused,
    autopsy: unused,
    metrics: unused,
  });
  void peer.closed;
});
await new Promise<void>((resolve) => worker.listen(workerSocket, resolve));

const gateway = await createGateway({
  config: { ...config, paths: { ...config.paths, workerSocket } },
  store,
  ...(redisUrl && { redis: connectRedis(config, 'failFast') }),
  log: silentLog,
  metrics: new Metrics(),
});
const { fd, port } = await listenTcp('127.0.0.1', 0);
await gateway.listen(fd);
while (gateway.facts()['instances'] === 0) await new Promise((resolve) => setTimeout(resolve, 5));
console.log(port);
process.once('SIGTERM', () => process.exit(0));
