/** The builder: takes builds from the queue, two at a time, and keeps the image store. It is the one process that writes
 *  the store's index, so it also collects what no revision needs. A build that dies with its builder is started again by
 *  the next one; what it had made is cached, what it had half made is removed. */

import { UnrecoverableError, WaitingError, Worker } from 'bullmq';
import { join } from 'node:path';
import { sleep } from '../core/clock.ts';
import { FnError, toFnError } from '../core/errors.ts';
import { BUILD_QUEUE, type BuildJob, type BuildResult, OWN_PREFIX } from '../core/queues.ts';
import { connectRedis } from '../core/redis.ts';
import type { EndMode, Service, ServiceContext } from '../core/service.ts';
import type { Millis } from '../core/units.ts';
import { buildFunction } from './build.ts';
import type { BuildStore } from './layer-cache.ts';
import { collectImages, prepareStore } from './work.ts';

const CONCURRENCY = 2;
/** A build whose builder is gone waits this long, and at most the next for someone to notice. */
const LOCK: Millis = 10_000;
const STALLED_CHECK: Millis = 5000;
/** A build that ends its builder is not worth a third try. */
const STALLED_AT_MOST = 2;
const COLLECT_EVERY: Millis = 600_000;
const CLOSE_WITHIN: Millis = 5000;

export async function startBuilder(context: ServiceContext): Promise<Service> {
  const { config, log } = context;
  const store: BuildStore = { images: config.paths.images, cache: config.paths.cache };
  process.umask(0o022); // What is unpacked must be readable in sandboxes.
  await context.takeOver();
  await prepareStore(store);

  const ending = new AbortController();
  const connection = connectRedis(config, 'patient');
  const counts = { running: 0, done: 0, failed: 0 };
  const worker = new Worker<BuildJob, BuildResult>(
    BUILD_QUEUE,
    async (job, token) => {
      counts.running++;
      const began = performance.now();
      try {
        const result = await buildFunction({
          source: { tarball: uploadPath(config.paths.uploads, job.data) },
          store,
          env: process.env,
          timeout: config.buildTimeout,
          signal: ending.signal,
          onProgress: (progress) => void job.updateProgress(progress).catch(() => {}), // Its reader polls the result.
        });
        counts.done++;
        log.info({ fn: result.spec.name, image: result.image, ms: Math.round(performance.now() - began) }, 'built');
        return result;
      } catch (error) {
        if (ending.signal.reason === 'handover') {
          await job.moveToWait(token);
          throw new WaitingError();
        }
        counts.failed++;
        const problem = (ending.signal.aborted ? interrupted() : toFnError(error)).toProblem({ component: 'builder' });
        if (problem.status >= 500) log.error({ err: error, job: job.id }, 'build failed');
        throw new UnrecoverableError(JSON.stringify(problem));
      } finally {
        counts.running--;
      }
    },
    {
      prefix: OWN_PREFIX,
      connection,
      concurrency: CONCURRENCY,
      lockDuration: LOCK,
      stalledInterval: STALLED_CHECK,
      maxStalledCount: STALLED_AT_MOST,
    },
  );
  worker.on('error', (error) => log.debug({ err: error }, 'build queue')); // Redis is away; it reconnects.

  const collecting = collectRegularly(context, store, ending.signal);
  return {
    facts: () => ({ ...counts }),
    async end(mode: EndMode) {
      ending.abort(mode);
      await Promise.race([worker.close(), sleep(CLOSE_WITHIN)]);
      await collecting;
      connection.disconnect();
    },
  };
}

/** @throws FnError package.invalid: the name comes from a queue, and becomes a path. */
function uploadPath(uploads: string, { upload }: BuildJob): string {
  if (!/^[0-9a-f]{64}$/.test(upload)) throw new FnError('package.invalid', 'the upload has no valid name');
  return join(uploads, upload);
}

function interrupted(): FnError {
  return new FnError('process.down', 'the builder was stopped before the build ended', { hint: 'Deploy again.' });
}

async function collectRegularly(
  { store: records, log }: ServiceContext,
  store: BuildStore,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await sleep(COLLECT_EVERY, signal).catch(() => {}); // Aborted: the next line ends it.
    if (signal.aborted) return;
    try {
      const { blobs, bytes } = await collectImages(records, store);
      if (blobs > 0) log.info({ blobs, bytes }, 'images collected');
    } catch (error) {
      log.warn({ err: error }, 'images not collected'); // Redis is away, or the disk; the next round tries again.
    }
  }
}
