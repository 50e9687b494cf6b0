/** A deploy, from the uploaded package to traffic: build it, write the revision, make it the candidate, and tell how the
 *  candidate fares. It only writes desired state; the reconciler starts the candidate and moves the traffic. So a deploy
 *  whose client goes away, or whose controller dies, still ends as it would have. */

import { QueueEvents, type Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { sleep } from '../core/clock.ts';
import type { Context } from '../core/context.ts';
import { FnError, fromProblem, toFnError, unreachable } from '../core/errors.ts';
import { type Digest, type FunctionName, revisionId, type RevisionId } from '../core/ids.ts';
import {
  BUILD_QUEUE,
  type BuildJob,
  type BuildProgress,
  type BuildResult,
  openQueue,
  OWN_PREFIX,
} from '../core/queues.ts';
import type { FunctionRecord, RevisionRecord } from '../core/records.ts';
import { connectRedis } from '../core/redis.ts';
import type { ServiceContext } from '../core/service.ts';
import { type FunctionSpec, httpTriggers } from '../core/spec.ts';
import { ConflictError } from '../core/store/store.ts';
import { formatBytes, type Millis } from '../core/units.ts';
import { parseProblem } from './actions.ts';
import { claimTicket, drawTicket } from './deploy-ticket.ts';
import { backoffUntil, CANDIDATE_MARGIN } from './plan.ts';
import { checkSchedules } from './schedules.ts';
import { routed } from './gateway-view.ts';
import { checkRoutes, routeOwners } from './route-conflicts.ts';
import type { Upload } from './uploads.ts';
import type { View } from './view.ts';

/** A line of the reply to POST /v1/deployments. `ms`: how long the step took. */
export type DeployEvent = StepEvent | DoneEvent;

interface StepEvent {
  readonly event: 'step';
  readonly step: string;
  readonly text: string;
  readonly ms: Millis;
}

interface DoneEvent {
  readonly event: 'done';
  readonly name: FunctionName;
  readonly url: string;
  readonly revision: RevisionId;
  readonly image: Digest;
  readonly unchanged?: true;
}

/** Installing dependencies is the long part. */
const BUILD_WITHIN: Millis = 600_000;
/** The reconciler gives a candidate its verdict; this bounds the wait when there is no reconciler. */
const VERDICT_MARGIN: Millis = 10_000;
const POLL_EVERY: Millis = 500;
const ROUTED_WITHIN: Millis = 3000;
/** Each attempt that fails means that another deploy got on. */
const WRITE_ATTEMPTS = 100;
const WRITE_PAUSE_MAX: Millis = 20;

export class Deployer implements AsyncDisposable {
  readonly #context: ServiceContext;
  readonly #urls: Pick<Context, 'gatewayUrl'>;
  readonly #view: View;
  readonly #queue: Queue<BuildJob, BuildResult>;
  readonly #patient: Redis;
  readonly #events: QueueEvents;

  constructor(context: ServiceContext, urls: Pick<Context, 'gatewayUrl'>, view: View) {
    this.#context = context;
    this.#urls = urls;
    this.#view = view;
    this.#queue = openQueue<BuildJob, BuildResult>(BUILD_QUEUE, context.redis);
    this.#patient = connectRedis(context.config, 'patient');
    this.#events = new QueueEvents(BUILD_QUEUE, { prefix: OWN_PREFIX, connection: this.#patient });
    this.#events.on('error', () => {}); // Progress is missed; the result is polled.
  }

  /** Which place a deploy that begins now has among those of the same function. */
  ticket(): Promise<number> {
    return drawTicket(this.#context.redis);
  }

  /** Yields what happens; throws an FnError when the deploy fails. */
  async *deploy(upload: Upload, ticket: number, signal: AbortSignal): AsyncGenerator<DeployEvent> {
    const timer = new StepTimer();
    yield timer.step('upload', `${formatBytes(upload.size)} received`);
    const build = yield* this.#build(upload, timer, signal);
    checkSchedules(build.spec, Date.now());
    signal.throwIfAborted(); // Nobody waits for it any more: leave the function as it is.

    const name = build.spec.name;
    const done = (revision: RevisionId): DoneEvent => ({
      event: 'done',
      name,
      url: `${this.#urls.gatewayUrl}/function/${name}`,
      revision,
      image: build.image,
    });
    const written = await this.#write(build, ticket);
    if (written.unchanged) {
      yield { ...done(written.revision), unchanged: true };
      return;
    }
    yield timer.step('revision', written.revision);
    await this.#verdict(name, written.revision, signal);
    await routed(this.#context.config.paths.gatewaySocket, name, written.revision, ROUTED_WITHIN);
    yield timer.step('ready', 'an instance is ready, traffic moves to it');
    yield done(written.revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.race([Promise.allSettled([this.#events.close(), this.#queue.close()]), sleep(2000)]);
    this.#patient.disconnect();
  }

  async *#build(upload: Upload, timer: StepTimer, signal: AbortSignal): AsyncGenerator<DeployEvent, BuildResult> {
    const job = await this.#queue.add(
      'build',
      { upload: upload.sha256 },
      { removeOnComplete: { age: 3600, count: 100 }, removeOnFail: { age: 3600, count: 100 } },
    );
    const id = job.id ?? '';
    const news: BuildProgress[] = [];
    let wake = Promise.withResolvers<void>();
    const onProgress = ({ jobId, data }: { jobId: string; data: unknown }): void => {
      if (jobId !== id) return;
      news.push(data as BuildProgress);
      wake.resolve();
    };
    const onEnd = ({ jobId }: { jobId: string }): void => {
      if (jobId === id) wake.resolve();
    };
    this.#events.on('progress', onProgress).on('completed', onEnd).on('failed', onEnd);
    const end = performance.now() + BUILD_WITHIN;
    try {
      for (;;) {
        for (const { step, text } of news.splice(0)) yield timer.step(step, text);
        wake = Promise.withResolvers<void>(); // Before the look: what happens meanwhile wakes the wait after it.
        const found = await this.#queue.getJob(id);
        if (found?.finishedOn !== undefined) {
          for (const { step, text } of news.splice(0)) yield timer.step(step, text);
          if (found.failedReason)
            throw fromProblem(parseProblem(found.failedReason)) ?? buildFailed(found.failedReason);
          return found.returnvalue;
        }
        if (!found || performance.now() > end)
          throw buildFailed(`it did not end within ${BUILD_WITHIN / 60_000} minutes`);
        if (news.length === 0) await Promise.race([wake.promise, sleep(POLL_EVERY, signal)]);
      }
    } finally {
      this.#events.off('progress', onProgress).off('completed', onEnd).off('failed', onEnd);
    }
  }

  /** Writes the revision and makes it the candidate, unless it is what already runs. */
  async #write(build: BuildResult, ticket: number): Promise<{ revision: RevisionId; unchanged: boolean }> {
    const { store, redis } = this.#context;
    const { image, spec } = build;
    const { name } = spec;
    let skipped = 0;
    for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
      if (attempt > 0) await sleep(Math.random() * WRITE_PAUSE_MAX);
      if (!(await claimTicket(redis, name, ticket))) break;
      const routes = await this.#claimRoutes(spec);
      const found = await store.get('function', name);
      const fn = found?.value;
      if (fn?.deletingSince !== undefined) {
        throw new FnError('deploy.conflict', `${name} is being removed`, { hint: 'Deploy again once it is gone.' });
      }
      const live = fn?.traffic.length === 1 ? fn.traffic[0]?.revision : undefined;
      if (fn && live && !fn.candidate && (await this.#isSame(live, build))) return { revision: live, unchanged: true };

      const now = Date.now();
      // A number someone else took meanwhile, or took and died, is skipped.
      const latest = (fn?.latest ?? 0) + 1 + skipped;
      const revision = revisionId(name, latest);
      const record: FunctionRecord = {
        ...(fn ?? { name, traffic: [], createdAt: now }),
        candidate: { revision, since: now },
        latest,
        updatedAt: now,
      };
      const written: RevisionRecord = { id: revision, function: name, image, spec, createdAt: now };
      if (!(await wins(store.put('revision', revision, written, { ifVersion: 0 })))) {
        skipped++;
        continue;
      }
      const conditions = { ifVersion: found?.version ?? 0, ...routes };
      if (await wins(store.put('function', name, record, conditions))) return { revision, unchanged: false };
      await store.delete('revision', revision);
    }
    throw overtaken(name);
  }

  /** What must hold when the record is written, so that the routes are still free: of two deploys that ask for one route at
   *  once, the store lets one through, and the other looks again and finds it taken. */
  async #claimRoutes(spec: FunctionSpec): Promise<{ ifLatest?: number }> {
    if (httpTriggers(spec).length === 0) return {};
    const { store, config } = this.#context;
    const ifLatest = await store.latest('function');
    const functions = (await store.list('function')).map(({ value }) => value);
    // After the functions: a revision is there before a function names it.
    const revisions = (await store.list('revision')).map(({ value }) => value);
    checkRoutes(spec, routeOwners(functions, revisions), config.domain);
    return { ifLatest };
  }

  /** A revision that keeps failing to start is not "unchanged": deploying again is how its user says to try now. */
  async #isSame(live: RevisionId, { image, spec }: BuildResult): Promise<boolean> {
    const revision = (await this.#context.store.get('revision', live))?.value;
    if (!revision || revision.image !== image || !sameSpec(revision.spec, spec)) return false;
    return backoffUntil(live, this.#view.instances(spec.name)) <= Date.now();
  }

  async #verdict(name: FunctionName, revision: RevisionId, signal: AbortSignal): Promise<void> {
    const { store, config } = this.#context;
    const end = performance.now() + config.startTimeout + CANDIDATE_MARGIN + VERDICT_MARGIN;
    for (;;) {
      const verdict = verdictOn(revision, (await store.get('function', name))?.value);
      switch (verdict) {
        case 'pending':
          break;
        case 'ready':
          return;
        case 'overtaken':
          throw overtaken(name);
        case 'removed':
          throw new FnError('deploy.conflict', `${name} was removed meanwhile`);
        default:
          if (verdict instanceof FnError) throw verdict;
          unreachable(verdict);
      }
      if (performance.now() > end) {
        throw new FnError('process.down', `no controller looked at ${revision}`);
      }
      await sleep(25, signal);
    }
  }
}

function verdictOn(
  revision: RevisionId,
  fn: FunctionRecord | undefined,
): 'pending' | 'ready' | 'overtaken' | 'removed' | FnError {
  if (!fn || fn.deletingSince !== undefined) return 'removed';
  if (fn.traffic.some((entry) => entry.revision === revision)) return 'ready';
  if (fn.candidate?.revision === revision) return 'pending';
  if (fn.failed?.revision === revision) return fromProblem(fn.failed.problem) ?? toFnError(fn.failed.problem.detail);
  return 'overtaken';
}

/** Specifications come from one schema, but a stored one may have been written by an older version: compare without order. */
function sameSpec(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => a.localeCompare(b));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

/** False when someone else wrote first. */
async function wins(write: Promise<number>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof ConflictError) return false;
    throw error;
  }
}

function overtaken(name: FunctionName): FnError {
  return new FnError('deploy.conflict', `a later deploy of ${name} took over`, { hint: 'The later one stands.' });
}

function buildFailed(detail: string): FnError {
  return new FnError('build.failed', detail);
}

class StepTimer {
  #last: Millis = performance.now();

  step(step: string, text: string): StepEvent {
    const now = performance.now();
    const ms = Math.round(now - this.#last);
    this.#last = now;
    return { event: 'step', step, text, ms };
  }
}
