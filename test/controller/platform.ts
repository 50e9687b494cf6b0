/** A controller on a real Redis, beside a fake builder and a fake node: BullMQ workers that answer as the real ones do and
 *  write the records the real ones write, without images or containers. */

import { Worker } from 'bullmq';
import { type Controller, startController } from '../../controller/main.ts';
import { readContext } from '../../core/context.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import {
  type Digest,
  type FunctionName,
  instanceId,
  newSandboxId,
  type NodeId,
  type RevisionId,
} from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import {
  BUILD_QUEUE,
  type BuildJob,
  type BuildResult,
  LOAD_HASH,
  nodeQueue,
  type NodeJob,
  OWN_PREFIX,
} from '../../core/queues.ts';
import type { EndReason, InstanceRecord, LoadReport } from '../../core/records.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import type { ServiceContext } from '../../core/service.ts';
import { type FunctionSpecInput, specSchema } from '../../core/spec.ts';
import { RedisStore } from '../../core/store/redis.ts';
import { type Store, update } from '../../core/store/store.ts';
import { END, takeOver } from '../support/service.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

export interface Platform extends AsyncDisposable {
  readonly redis: TestRedis;
  readonly context: ServiceContext;
  readonly store: Store;
  readonly controller: Controller;
  readonly node: FakeNode;
  readonly token: string;
  /** What the fake builder makes of the next uploads. */
  build(job: { upload: string; progress: (step: string, text: string) => Promise<void> }): Promise<BuildResult>;
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

export function specOf(input: FunctionSpecInput): BuildResult['spec'] {
  return specSchema.parse(input);
}

export function digestOf(character: string): Digest {
  return `sha256:${character.repeat(64)}` as Digest;
}

export function contextOf(redis: TestRedis): ServiceContext {
  const connection = connectRedis(redis.config, 'failFast');
  return {
    config: redis.config,
    log: silentLog,
    metrics: new Metrics(),
    redis: connection,
    store: new RedisStore(connection),
    takeOver,
  };
}

export async function startPlatform(): Promise<Platform> {
  await using stack = new AsyncDisposableStack();
  const redis = stack.use(await startRedis({ FN_API_PORT: '0', FN_NODE: 'n1' }));
  const context = contextOf(redis);
  stack.defer(() => context.redis.disconnect());
  await waitForRedis(context.redis, 10_000);
  const patient = stack.adopt(connectRedis(redis.config, 'patient'), (connection) => connection.disconnect());
  const node = stack.use(await FakeNode.start(context, 'n1' as NodeId));
  const controller = stack.adopt(await startController(context), (one) => one.end('stop', END));
  const token = (await readContext(redis.config.home))?.token ?? '';
  const builder = new Worker<BuildJob, BuildResult>(
    BUILD_QUEUE,
    async (job) => {
      try {
        const progress = (step: string, text: string): Promise<void> => job.updateProgress({ step, text });
        return await platform.build({ upload: job.data.upload, progress });
      } catch (error) {
        throw new Error(JSON.stringify(toFnError(error).toProblem()), { cause: error });
      }
    },
    { prefix: OWN_PREFIX, connection: patient, concurrency: 10 },
  );
  builder.on('error', () => {});
  stack.adopt(builder, (one) => one.close(true));

  const owned = stack.move();
  const platform: Platform = {
    redis,
    context,
    store: context.store,
    controller,
    node,
    token,
    build: async () => {
      throw new FnError('build.failed', 'the test says nothing of a build');
    },
    fetch: (path, init = {}) =>
      fetch(`http://127.0.0.1:${controller.apiPort}${path}`, {
        ...init,
        headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string> | undefined) },
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
  return platform;
}

/** Starts and stops instances as records only. */
export class FakeNode implements AsyncDisposable {
  readonly id: NodeId;
  readonly jobs: NodeJob[] = [];
  /** How the start of an instance of a revision ends; ready by default. An FnError refuses the start. */
  outcome: (revision: RevisionId) => 'ready' | 'starting' | EndReason | FnError = () => 'ready';
  /** Whether an if-idle stop finds the instance idle. */
  idle: (instance: string) => boolean = () => true;
  readonly #context: ServiceContext;
  readonly #patient;
  readonly #worker: Worker<NodeJob>;
  #heartbeat: NodeJS.Timeout | undefined;
  #loads: NodeJS.Timeout | undefined;
  /** The load of revisions as the node's gateway would report it. */
  load: LoadReport['revisions'] = {};

  private constructor(context: ServiceContext, id: NodeId) {
    this.id = id;
    this.#context = context;
    this.#patient = connectRedis(context.config, 'patient');
    this.#worker = new Worker<NodeJob>(nodeQueue(id), (job) => this.#do(job.data), {
      prefix: OWN_PREFIX,
      connection: this.#patient,
    });
    this.#worker.on('error', () => {});
  }

  static async start(context: ServiceContext, id: NodeId): Promise<FakeNode> {
    const node = new FakeNode(context, id);
    await node.beat();
    node.#heartbeat = setInterval(() => void node.beat().catch(() => {}), 1000);
    return node;
  }

  async beat(expiresAt: number = Date.now() + 10_000): Promise<void> {
    const { store } = this.#context;
    const fixed = { driver: 'crun', cgroup: 'v2', cpus: 2, memory: 2 ** 30, startedAt: 0 } as const;
    await store.put('node', this.id, { id: this.id, ...fixed, expiresAt });
  }

  /** From now on a gateway reports, ten times a second so that tests are quick. */
  reportLoad(): void {
    this.#loads = setInterval(() => {
      const report: LoadReport = { gateway: `g-${this.id}`, at: Date.now(), revisions: this.load };
      this.#context.redis.hset(LOAD_HASH, report.gateway, JSON.stringify(report)).catch(() => {});
    }, 100);
  }

  async instances(name: string): Promise<InstanceRecord[]> {
    const all = await this.#context.store.list('instance');
    return all.map((stored) => stored.value).filter((one) => one.function === name && one.node === this.id);
  }

  async end(id: string, reason: EndReason): Promise<void> {
    const state = ['exit', 'signal', 'oom'].includes(reason) ? 'failed' : 'stopped';
    await update(this.#context.store, 'instance', id, (one) =>
      one && !one.end ? { ...one, state, end: { at: Date.now(), reason } } : undefined,
    );
  }

  async #do(job: NodeJob): Promise<void> {
    this.jobs.push(job);
    if (job.type === 'stop') {
      if (job.mode === 'drain' || this.idle(job.instance)) await this.end(job.instance, job.reason);
      return;
    }
    const present = (await this.instances(job.function)).filter((one) => one.revision === job.revision && !one.end);
    for (let count = present.length; count < job.count; count++) await this.#start(job.function, job.revision);
  }

  async #start(name: FunctionName, revision: RevisionId): Promise<void> {
    const outcome = this.outcome(revision);
    if (outcome instanceof FnError) throw new Error(JSON.stringify(outcome.toProblem()));
    const now = Date.now();
    const id = instanceId(name, newSandboxId());
    const base = { id, function: name, revision, node: this.id, createdAt: now };
    const record: InstanceRecord =
      outcome === 'ready'
        ? { ...base, state: 'ready', readyAt: now }
        : outcome === 'starting'
          ? { ...base, state: 'starting' }
          : { ...base, state: 'failed', end: { at: now, reason: outcome } };
    await this.#context.store.put('instance', id, record);
  }

  /** Like kill -9 of the node: no more jobs, no more heartbeats. */
  async kill(): Promise<void> {
    clearInterval(this.#heartbeat);
    clearInterval(this.#loads);
    await this.#worker.close(true);
    this.#patient.disconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** The lines of a deploy. */
export async function deploy(platform: Platform, body = 'package'): Promise<Record<string, unknown>[]> {
  const response = await platform.fetch('/v1/deployments', { method: 'POST', body });
  return (await response.text())
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
