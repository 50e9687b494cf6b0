/** Job consumers on a real Redis, and in place of the gateway a small HTTP server on its unix socket. */

import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type Job, Queue } from 'bullmq';
import { expect } from 'vitest';
import type { FunctionName } from '../../core/ids.ts';
import { revisionId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import {
  ASYNC_ACTIVE_SET,
  ASYNC_CHANNEL,
  type AsyncJob,
  type AsyncResult,
  asyncQueue,
  openQueue,
  USER_PREFIX,
} from '../../core/queues.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import type { ServiceContext } from '../../core/service.ts';
import { type FunctionSpecInput, specSchema } from '../../core/spec.ts';
import { RedisStore } from '../../core/store/redis.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import { type Jobs, startJobs } from '../../worker/jobs/main.ts';
import { eventually } from '../support/eventually.ts';
import { takeOver } from '../support/service.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

export interface Call {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  /** The client went away before it was answered. */
  readonly gone: Promise<void>;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  /** Break the connection after half an answer. */
  readonly half?: true;
}

export class FakeGateway implements AsyncDisposable {
  readonly calls: Call[] = [];
  answer: (call: Call) => Answer | Promise<Answer> = () => ({});
  readonly #path: string;
  #server: Server | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      void (async () => {
        const gone = once(response, 'close').then(() => {});
        const call = await read(request, gone);
        this.calls.push(call);
        const { status = 200, headers = {}, body = '', half } = await this.answer(call);
        if (half) {
          response.writeHead(status, { ...headers, 'content-length': '1000' });
          response.write('half');
          setImmediate(() => response.destroy());
        } else {
          response.writeHead(status, headers).end(body);
        }
      })();
    });
    this.#server = server;
    await rm(this.#path, { force: true });
    server.listen(this.#path);
    await once(server, 'listening');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}

async function read(request: IncomingMessage, gone: Promise<void>): Promise<Call> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { method = '', url = '', headers } = request;
  return { method, url, headers, body: Buffer.concat(chunks).toString('utf8'), gone };
}

/** The job once it is in that state. The state first: a job read before may be older. */
export function jobIn(queue: Queue, id: string, state: string): Promise<Job> {
  return eventually(async () => {
    expect(await queue.getJobState(id)).toBe(state);
    const job = (await queue.getJob(id)) as Job | undefined;
    if (!job) throw new Error(`${id} is gone`);
    return job;
  });
}

export interface TestNode extends AsyncDisposable {
  readonly redis: TestRedis;
  readonly context: ServiceContext;
  readonly gateway: FakeGateway;
  readonly jobs: Jobs;
  /** Gives a revision traffic, as a successful deploy does. */
  deploy(spec: FunctionSpecInput): Promise<void>;
  /** An ordinary BullMQ producer. */
  userQueue(name: string): Queue;
  asyncQueue(name: string): Queue<AsyncJob, AsyncResult>;
  /** As the gateway does for POST /async/<name>. */
  submit(name: string, id: string, job?: Partial<AsyncJob>): Promise<void>;
}

export async function startNode(env: Record<string, string> = {}): Promise<TestNode> {
  await using stack = new AsyncDisposableStack();
  const redis = stack.use(await startRedis({ FN_NODE: 'n1', ...env }));
  const connection = stack.adopt(connectRedis(redis.config, 'failFast'), (one) => one.disconnect());
  await waitForRedis(connection, 10_000);
  const store = new RedisStore(connection);
  const context = { config: redis.config, log: silentLog, metrics: new Metrics(), redis: connection, store, takeOver };
  const snapshot = stack.use(await Snapshot.open(store, ['function', 'revision']));
  await mkdir(redis.config.paths.run, { recursive: true });
  const gateway = stack.use(new FakeGateway(redis.config.paths.gatewaySocket));
  await gateway.start();
  const jobs = stack.use(await startJobs({ ...context, snapshot }));
  const queues = stack.use(new AsyncDisposableStack());
  const remember = <Q extends Queue>(queue: Q): Q => queues.adopt(queue, (one) => one.close());
  let revisions = 0;
  const owned = stack.move();
  return {
    redis,
    context,
    gateway,
    jobs,
    async deploy(input) {
      const spec = specSchema.parse(input);
      const { name } = spec;
      const revision = revisionId(name, ++revisions);
      const image = `sha256:${'a'.repeat(64)}` as never;
      await store.put('revision', revision, { id: revision, function: name, image, spec, createdAt: 0 });
      const traffic = [{ revision, weight: 100 }];
      await store.put('function', name, { name, traffic, latest: revisions, createdAt: 0, updatedAt: 0 });
    },
    userQueue(name) {
      const queue = remember(new Queue(name, { connection, prefix: USER_PREFIX }));
      queue.on('error', () => {});
      return queue;
    },
    asyncQueue: (name) => remember(openQueue<AsyncJob, AsyncResult>(asyncQueue(name as FunctionName), connection)),
    async submit(name, id, job = {}) {
      const queue = openQueue<AsyncJob, AsyncResult>(asyncQueue(name as FunctionName), connection);
      await connection.sadd(ASYNC_ACTIVE_SET, name);
      await queue.add('invoke', { method: 'POST', path: '/', headers: {}, ...job }, { jobId: id });
      await connection.publish(ASYNC_CHANNEL, name);
      await queue.close();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
