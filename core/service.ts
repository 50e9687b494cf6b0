/** What gateway, worker, controller and builder have in common as processes: a configuration, a log, a store, a heartbeat,
 *  and an orderly end. `fn <role>` runs one; `fn server` supervises one of each over an IPC channel whose loss means that
 *  the supervisor is gone, and ends them too.
 *
 *  One process of a role can take the place of another while both run. The new one loads, and waits in `takeOver` where only
 *  one may have something (the sandboxes, the image store); the old one gets SIGUSR2, lets go of that, and finishes what it
 *  has beside its successor. */

import { once } from 'node:events';
import type { Redis } from 'ioredis';
import type { Config } from './config.ts';
import { toFnError } from './errors.ts';
import { createLog, type Log } from './log.ts';
import { Metrics } from './metrics.ts';
import { PROCESS_HASH, type ProcessReport } from './queues.ts';
import { connectRedis, waitForRedis } from './redis.ts';
import { RedisStore } from './store/redis.ts';
import type { Store } from './store/store.ts';
import type { Millis } from './units.ts';

export type Role = ProcessReport['role'];

/** What node is started with for each of them. Young objects get 8 MiB at most: with V8's 16 a gateway that streams for a
 *  while grows by 70 MiB and not 30, and is no faster. */
export const NODE_FLAGS: readonly string[] = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=8'];

export interface ServiceContext {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Fail-fast; shared by the process. */
  readonly redis: Redis;
  readonly store: Store;
  /** Resolves when the process that this one replaces, if any, has let go of what only one of the role may have. Whoever
   *  awaits it does all that can fail without that before. */
  takeOver(): Promise<void>;
}

/** `stop`: clean up everything. `handover`: leave what can run on (instances) to the next process of this role, which may be
 *  there already. */
export type EndMode = 'stop' | 'handover';

export interface EndOptions {
  /** To be called in a handover when the successor may have what only one may have; at the latest, the end says so. */
  readonly released: () => void;
  /** Aborts when there is no more time to finish things beside the successor: the platform stops. */
  readonly hurry: AbortSignal;
}

export interface Service {
  /** Shown by `fn status`. */
  facts?(): Readonly<Record<string, unknown>>;
  end(mode: EndMode, options: EndOptions): Promise<void>;
}

const HEARTBEAT_EVERY: Millis = 1000;
/** A process that cannot end in this time is ended; one that was replaced has FN_DRAIN_WITHIN_MS more. */
const END_WITHIN: Millis = 40_000;

/** Runs a service until SIGTERM or SIGINT (stop), SIGUSR2 (handover), or the supervisor is gone. Resolves at the end. */
export async function runService(
  role: Role,
  config: Config,
  start: (context: ServiceContext) => Promise<Service>,
): Promise<void> {
  const log = createLog(role, config.logLevel);
  const redis = connectRedis(config, 'failFast');
  const context: ServiceContext = {
    config,
    log,
    metrics: new Metrics(),
    redis,
    store: new RedisStore(redis),
    takeOver: () => takeOver(role),
  };

  const { promise: ending, resolve: requestEnd } = Promise.withResolvers<EndMode>();
  const hurry = new AbortController();
  const stop = (): void => {
    requestEnd('stop');
    hurry.abort();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', () => process.connected || stop()); // Under a supervisor Ctrl-C reaches all; it decides.
  process.on('SIGUSR2', () => requestEnd('handover'));
  process.once('disconnect', stop);
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught exception');
    process.exit(70); // EX_SOFTWARE: the state is unknown, a fresh process is safer.
  });

  await waitForRedis(redis, 15_000);
  const service = await start(context);
  const startedAt = Date.now();
  let finishing = false;
  const id = `${role}-${config.node}-${process.pid}`;
  const tellsMetrics = role === 'worker' || role === 'builder';
  const beat = async (): Promise<void> => {
    const report: ProcessReport = {
      role,
      id,
      pid: process.pid,
      at: Date.now(),
      startedAt,
      ...(service.facts && { facts: { ...service.facts(), ...(finishing && { finishing }) } }),
      ...(tellsMetrics && { metrics: await context.metrics.text() }),
    };
    await redis.hset(PROCESS_HASH, id, JSON.stringify(report)).catch(() => 0); // Redis is away: that is the report.
  };
  void beat();
  const timer = setInterval(() => void beat(), HEARTBEAT_EVERY);
  process.send?.({ ready: role });
  log.info({ node: config.node }, 'ready');

  const mode = await ending;
  finishing = mode === 'handover';
  if (!finishing) clearInterval(timer);
  log.info({ mode }, 'ending');
  let giveUp = endWithin(log, END_WITHIN + (finishing ? config.drainWithin : 0));
  hurry.signal.addEventListener('abort', () => {
    clearTimeout(giveUp);
    giveUp = endWithin(log, END_WITHIN);
  });
  try {
    await service.end(mode, { released: () => process.send?.({ released: role }), hurry: hurry.signal });
  } catch (error) {
    log.error({ err: toFnError(error) }, 'end failed');
    process.exitCode = 1;
  }
  clearTimeout(giveUp);
  clearInterval(timer);
  await redis.hdel(PROCESS_HASH, id).catch(() => 0);
  redis.disconnect();
  if (process.connected) process.disconnect();
}

/** Asks the supervisor, which knows whether there is anyone to take over from. */
async function takeOver(role: Role): Promise<void> {
  if (!process.connected) return;
  const given = once(process, 'message');
  process.send?.({ standby: role });
  await given;
}

function endWithin(log: Log, within: Millis): NodeJS.Timeout {
  return setTimeout(() => {
    log.error({ afterMs: within }, 'could not end in time');
    process.exit(75);
  }, within);
}
