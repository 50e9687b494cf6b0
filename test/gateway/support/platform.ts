/** A gateway with everything real but the worker: real sockets, real HTTP servers as instances, and a worker whose answers
 *  the test decides. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { type Config, loadConfig } from '../../../core/config.ts';
import type { GatewayCalls, RoutableInstance, WorkerCalls } from '../../../core/control.ts';
import type { Digest, FunctionName, InstanceId, NodeId, RevisionId } from '../../../core/ids.ts';
import { silentLog } from '../../../core/log.ts';
import { Metrics } from '../../../core/metrics.ts';
import { type Handlers, RpcPeer } from '../../../core/rpc.ts';
import { listenTcp } from '../../../core/sockets.ts';
import { type FunctionSpecInput, specSchema } from '../../../core/spec.ts';
import { connectRedis } from '../../../core/redis.ts';
import { MemoryStore } from '../../../core/store/memory.ts';
import { RedisStore } from '../../../core/store/redis.ts';
import type { Store } from '../../../core/store/store.ts';
import type { ClientPatience } from '../../../gateway/patience.ts';
import { createGateway, type Gateway } from '../../../gateway/gateway.ts';
import { eventually } from '../../support/eventually.ts';
import { startRedis } from '../../support/redis.ts';

type Peer = RpcPeer<GatewayCalls, WorkerCalls>;

export interface InstanceServer extends AsyncDisposable {
  readonly id: InstanceId;
  readonly socket: string;
  /** Connections open now. */
  readonly connections: Set<Socket>;
  close(): Promise<void>;
}

export interface Platform extends AsyncDisposable {
  readonly config: Config;
  readonly store: Store;
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  readonly port: number;
  readonly url: string;
  /** What the worker answers; a test replaces what it needs. */
  readonly worker: { -readonly [K in keyof Handlers<WorkerCalls>]: Handlers<WorkerCalls>[K] };
  /** Calls the worker got, in order. */
  readonly calls: { call: string; in: unknown }[];
  /** The worker's end of the control socket. */
  peer(): Promise<Peer>;
  /** Takes the worker away, and brings it back. */
  stopWorker(): Promise<void>;
  startWorker(): Promise<void>;
  /** Writes a function's records; its traffic goes to this revision. */
  deploy(spec: FunctionSpecInput, number?: number): Promise<RevisionId>;
  /** An HTTP server on a unix socket; not yet known to the gateway. */
  serve(name: string, listener: RequestListener): Promise<InstanceServer>;
  /** A server of raw bytes on a unix socket. */
  serveRaw(name: string, onConnection: (socket: Socket) => void): Promise<InstanceServer>;
  routable(instance: InstanceServer, revision: RevisionId, concurrency?: number): RoutableInstance;
  /** Makes the gateway use it. */
  route(instance: InstanceServer, revision: RevisionId, concurrency?: number): Promise<void>;
  /** A function with one instance that answers with the listener. */
  run(spec: FunctionSpecInput, listener: RequestListener): Promise<InstanceServer>;
}

export interface PlatformOptions {
  readonly redis?: Redis;
  readonly patience?: Partial<ClientPatience>;
  readonly connectionsMax?: number;
  readonly masterKey?: Uint8Array;
}

export async function startPlatform(
  env: Record<string, string> = {},
  { redis, patience, connectionsMax, masterKey }: PlatformOptions = {},
): Promise<Platform> {
  const home = await mkdtemp(join(tmpdir(), 'fng-'));
  const threads = env['FN_GATEWAY_THREADS'] ?? process.env['FN_TEST_GATEWAY_THREADS'] ?? '1';
  // Threads read the store themselves, so it has to be a real one.
  const server = threads === '1' ? undefined : await startRedis();
  const config = loadConfig({
    FN_HOME: home,
    FN_LOG_LEVEL: 'silent',
    FN_GATEWAY_THREADS: threads,
    ...(server && { REDIS_URL: server.config.redisUrl }),
    ...env,
  });
  const own = server && connectRedis(server.config, 'patient');
  const store = own ? new RedisStore(own) : new MemoryStore();
  const metrics = new Metrics();
  const workerSocket = join(home, 'w.sock');
  const paths = { ...config.paths, workerSocket };
  const calls: { call: string; in: unknown }[] = [];
  const servers = new Set<InstanceServer>();
  let peers: Peer[] = [];
  let workerServer: Server | undefined;
  let count = 0;

  const worker: Platform['worker'] = {
    hello: () => ({ node: 'test' as NodeId, instances: [] }),
    leaving: () => ({}),
    acquire: () => Promise.reject(new Error('the test has no instance to give')),
    loaded: () => ({}),
    kill: () => ({ gone: true }),
    autopsy: () => ({ alive: true }),
    metrics: () => ({ text: '' }),
  };
  const recorded = Object.fromEntries(
    (Object.keys(worker) as (keyof WorkerCalls)[]).map((call) => [
      call,
      (input: never) => {
        calls.push({ call, in: input });
        return worker[call](input);
      },
    ]),
  ) as unknown as Handlers<WorkerCalls>;
  const startWorker = async (): Promise<void> => {
    const server = createServer((socket) => void peers.push(new RpcPeer(socket, recorded)));
    workerServer = server;
    await new Promise<void>((resolve) => server.listen(workerSocket, resolve));
  };
  const stopWorker = async (): Promise<void> => {
    const closed = new Promise((resolve) => workerServer?.close(resolve));
    for (const peer of peers) peer.close();
    peers = [];
    await closed;
  };
  await startWorker();

  const gateway = await createGateway({
    config: { ...config, paths },
    store,
    log: silentLog,
    metrics,
    ...(redis && { redis }),
    ...(patience && { patience }),
    ...(connectionsMax !== undefined && { connectionsMax }),
    ...(masterKey && { masterKey }),
  });
  const { fd, port } = await listenTcp('127.0.0.1', 0);
  await gateway.listen(fd);
  const peer = (): Promise<Peer> =>
    eventually(() => {
      const one = peers.at(-1);
      if (!one) throw new Error('the gateway has not connected');
      return one;
    });

  const track = async (server: Server, name: string): Promise<InstanceServer> => {
    const id = `${name}-${String(++count).padStart(8, '0')}` as InstanceId;
    const connections = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      connections.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => connections.delete(socket));
    });
    const socket = join(home, `${count}.sock`);
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const close = async (): Promise<void> => {
      servers.delete(instance);
      const closed = new Promise((resolve) => server.close(resolve));
      for (const one of connections) one.destroy();
      await closed;
    };
    const instance: InstanceServer = { id, socket, connections, close, [Symbol.asyncDispose]: close };
    servers.add(instance);
    return instance;
  };

  const platform: Platform = {
    config,
    store,
    gateway,
    metrics,
    port,
    url: `http://127.0.0.1:${port}`,
    worker,
    calls,
    peer,
    startWorker,
    stopWorker,
    async deploy(input, number = 1) {
      const spec = specSchema.parse(input);
      const id = `${spec.name}-${String(number).padStart(5, '0')}` as RevisionId;
      const now = Date.now();
      const image = `sha256:${'0'.repeat(64)}` as Digest;
      await store.put('revision', id, { id, function: spec.name, image, spec, createdAt: now });
      const traffic = [{ revision: id, weight: 100 }];
      await store.put('function', spec.name, {
        name: spec.name,
        traffic,
        latest: number,
        createdAt: now,
        updatedAt: now,
      });
      await eventually(async () => expect(await gateway.revisionsOf(spec.name)).toContain(id));
      return id;
    },
    serve(name, listener) {
      const server = createHttpServer({ keepAliveTimeout: 60_000 }, listener);
      return track(server, name);
    },
    serveRaw: (name, onConnection) => track(createServer({ allowHalfOpen: true }, onConnection), name),
    routable: (instance, revision, concurrency = 1) => ({
      id: instance.id,
      function: revision.replace(/-\d+$/, '') as FunctionName,
      revision,
      socket: instance.socket,
      concurrency,
      start: 'claimed',
    }),
    async route(instance, revision, concurrency) {
      const to = await peer();
      await to.call('route', { instance: platform.routable(instance, revision, concurrency) }, 5000);
    },
    async run(spec, listener) {
      const revision = await platform.deploy(spec);
      const instance = await platform.serve(spec.name, listener);
      await platform.route(instance, revision, spec.concurrency);
      return instance;
    },
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      for (const server of servers) await server.close();
      await stopWorker();
      await store[Symbol.asyncDispose]();
      own?.disconnect();
      await server?.[Symbol.asyncDispose]();
      await rm(home, { recursive: true, force: true });
    },
  };
  return platform;
}
