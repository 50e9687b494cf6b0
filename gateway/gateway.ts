/** The gateway: HTTP in, instance out. One data plane in this thread, or (FN_GATEWAY_THREADS) one in each of several with this
 *  one as their coordinator; either way one connection to the worker, one report of load, one page of metrics. */

import { availableParallelism } from 'node:os';
import type { Redis } from 'ioredis';
import type { Clock } from '../core/clock.ts';
import type { Config } from '../core/config.ts';
import type { RevisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Store } from '../core/store/store.ts';
import type { Millis } from '../core/units.ts';
import type { Certificate } from './certificate.ts';
import type { ClientPatience } from './patience.ts';
import { WorkerLink } from './control.ts';
import { DRAIN_IDLE, DRAIN_WITHIN, Plane, TUNNELS_WITHIN } from './plane.ts';
import { reportLoad } from './report.ts';
import { ALONE } from './slots/room.ts';
import { Rows, sharedRows } from './slots/rows.ts';
import { inThreads } from './threads/coordinator.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly store: Store;
  /** For what is asynchronous and for load reports; a gateway without it only invokes. */
  readonly redis?: Redis;
  /** Opens the secrets that webhooks are checked with; plain bytes, which threads can be given. */
  readonly masterKey?: Uint8Array;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock?: Clock;
  /** Instead of CLIENT_PATIENCE. */
  readonly patience?: Partial<ClientPatience>;
  /** Client connections at once; as many as the process may have by default. */
  readonly connectionsMax?: number;
}

export interface Gateway extends AsyncDisposable {
  readonly id: string;
  /** Accepts on a listening socket (core/sockets.ts), and closes the descriptor at the end. */
  listen(fd: number): Promise<void>;
  /** The same for a socket whose clients speak TLS. */
  listenTls(fd: number, certificate: Certificate): Promise<void>;
  /** The same for a socket whose clients are trusted: the platform's own processes. */
  listenTrusted(fd: number): Promise<void>;
  facts(): Readonly<Record<string, unknown>>;
  /** Where a function's requests go. */
  revisionsOf(name: string): Promise<readonly RevisionId[]>;
  /** Prometheus text. */
  metricsText(): Promise<string>;
  /** Refuses new connections, finishes what is in flight within the time, closes everything. */
  end(within?: Millis): Promise<void>;
  /** Leaves new connections and the instances to a gateway that is there already, and finishes what is in flight. An idle
   *  connection may stay as long as its client may expect; `hurry` ends it all as `end` does. */
  handOver(within: Millis, hurry: AbortSignal): Promise<void>;
}

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const id = `gateway-${options.config.node}-${process.pid}`;
  const count = options.config.gatewayThreads || threadsFor(availableParallelism());
  return count === 1 ? inThisThread(options, id) : inThreads(options, id, count);
}

/** The functions need the cores too, and 20,000 requests a second keep one thread busy. */
function threadsFor(cores: number): number {
  return Math.min(8, Math.max(1, Math.floor(cores / 4)));
}

async function inThisThread(options: GatewayOptions, id: string): Promise<Gateway> {
  const { config, log, redis } = options;
  const metricsText = (): Promise<string> => plane.metrics().text();
  const revisionsOf = async (name: string): Promise<RevisionId[]> => plane.functions.revisionsOf(name);
  const plane = await Plane.open({
    ...options,
    redis,
    masterKey: options.masterKey,
    gateway: id,
    rows: new Rows(sharedRows(1)),
    peers: ALONE,
    metricsText,
    revisionsOf,
  });
  const { fleet } = plane.functions;
  const link = new WorkerLink({
    socket: config.paths.workerSocket,
    gateway: id,
    handlers: fleet.handlers,
    holds: fleet.holds,
    onConnecting: fleet.connecting,
    onInstances: fleet.sync,
    startTimeout: config.startTimeout,
    log,
  });
  fleet.attach(link);
  const reporting = reportLoad(redis, id, async () => plane.functions.report());
  const { listener } = plane;
  const stop = (within: Millis): Promise<void> => listener.drain({ within, idle: DRAIN_IDLE, tunnels: within });
  const close = async (): Promise<void> => {
    await reporting[Symbol.asyncDispose]();
    await link[Symbol.asyncDispose]();
    await plane[Symbol.asyncDispose]();
  };
  return {
    id,
    listen: (fd) => plane.listener.listen(fd),
    listenTls: (fd, certificate) => plane.listener.listenTls(fd, certificate),
    listenTrusted: (fd) => plane.listener.listenTrusted(fd),
    facts: () => ({ ...plane.facts(), worker: link.connected }),
    metricsText,
    revisionsOf,
    async end(within = DRAIN_WITHIN) {
      await stop(within);
      await close();
    },
    async handOver(within, hurry) {
      hurry.addEventListener('abort', () => void stop(DRAIN_WITHIN), { once: true });
      const drained = listener.drain({ within, idle: listener.patience.idle, tunnels: TUNNELS_WITHIN });
      await link.leave();
      await drained;
      await close();
    },
    async [Symbol.asyncDispose]() {
      await stop(0);
      await close();
    },
  };
}
