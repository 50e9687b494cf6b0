/** The gateway alone in a process: a store in memory, and a worker that lists one instance, the socket given. Arguments:
 *  home, the instance's socket, how many functions to deploy, invocations at once in the instance. */

import { createServer } from 'node:net';
import { join } from 'node:path';
import { loadConfig } from '../../core/config.ts';
import type { GatewayCalls, WorkerCalls } from '../../core/control.ts';
import type { Digest, FunctionName, InstanceId, NodeId, RevisionId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import { RpcPeer } from '../../core/rpc.ts';
import { specSchema } from '../../core/spec.ts';
import { MemoryStore } from '../../core/store/memory.ts';
import { createGateway } from '../../gateway/gateway.ts';

const [home = '/tmp', socket = '', functions = '1', concurrency = '1000'] = process.argv.slice(2);
const CONCURRENCY = Number(concurrency);

const store = new MemoryStore();
for (let n = 0; n < Number(functions); n++) {
  const spec = specSchema.parse({
    name: n === 0 ? 'bench' : `bench-${n}`,
    concurrency: CONCURRENCY,
    scale: { max: 1 },
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

const config = loadConfig({ ...process.env, FN_HOME: home });
const workerSocket = join(home, 'w.sock');
const instance = {
  id: 'bench-00000001' as InstanceId,
  function: 'bench' as FunctionName,
  revision: 'bench-00001' as RevisionId,
  socket,
  concurrency: CONCURRENCY,
  start: { kind: 'cold', ms: 0 },
} as const;
const worker = createServer((connection) => {
  const unused = (): never => {
    throw new Error('not in this benchmark');
  };
  const peer = new RpcPeer<GatewayCalls, WorkerCalls>(connection, {
    hello: () => ({ node: 'bench' as NodeId, instances: [instance] }),
    acquire: unused,
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
  log: silentLog,
  metrics: new Metrics(),
});
const port = await gateway.listen('127.0.0.1', 0);
while (gateway.facts()['instances'] === 0) await new Promise((resolve) => setTimeout(resolve, 5));
console.log(port);
process.once('SIGTERM', () => process.exit(0));
