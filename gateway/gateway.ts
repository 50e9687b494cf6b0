/** The data plane: HTTP in, instance out. It needs neither Redis, controller nor worker to keep answering from instances
 *  that are ready. This file only puts the parts together:
 *
 *    listener → connection → dispatch → policy/gate ┬→ invocation → slots → upstream → the instance
 *                                                   └→ page (async, invocations, health, metrics)
 *    functions: records and instances behind all of it */

import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../core/clock.ts';
import { AddressSet } from '../core/addresses.ts';
import { type Config, listOf } from '../core/config.ts';
import { toFnError } from '../core/errors.ts';
import { InvocationWriter } from '../core/invocation-log.ts';
import type { Log } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { LOAD_HASH } from '../core/queues.ts';
import type { Store } from '../core/store/store.ts';
import type { Millis } from '../core/units.ts';
import { AsyncQueues } from './async.ts';
import type { Certificate } from './certificate.ts';
import { CLIENT_PATIENCE, type ClientPatience } from './connection.ts';
import { Dispatcher } from './dispatch.ts';
import { Functions } from './functions.ts';
import { Ledger } from './ledger.ts';
import { Listener } from './listener.ts';
import { Gate } from './policy/gate.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly store: Store;
  /** For what is asynchronous and for load reports; a gateway without it only invokes. */
  readonly redis?: Redis;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock?: Clock;
  /** Instead of CLIENT_PATIENCE. */
  readonly patience?: Partial<ClientPatience>;
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
  /** Prometheus text. */
  metricsText(): Promise<string>;
  /** Refuses new connections, finishes what is in flight within the time, closes everything. */
  end(within?: Millis): Promise<void>;
}

const REPORT_EVERY: Millis = 1000;
const REST_EVERY: Millis = 250;
const DRAIN_WITHIN: Millis = 30_000;

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, store, redis, log, metrics, clock = systemClock } = options;
  const id = `gateway-${config.node}-${process.pid}`;
  const ledger = new Ledger(metrics);
  const queues = redis && new AsyncQueues(redis);
  const invocations = redis && new InvocationWriter(redis);
  const functions = await Functions.open({
    config,
    gateway: id,
    store,
    ledger,
    invocations,
    clock,
    log,
    onRemoved: (name) => queues?.drop(name),
  });
  const gate = await Gate.open({
    store,
    metrics,
    ...(redis && { redis }),
    clock,
    failed: (error) => functions.failed(error),
    onError: (error) => log.debug({ err: toFnError(error) }, 'policies not refreshed'),
  });
  const metricsText = (): Promise<string> => {
    gate.prune((name) => functions.routes.get(name) !== undefined);
    const { inFlight, waiting } = functions.totals();
    return ledger.text(inFlight, waiting);
  };
  const dispatcher = new Dispatcher({
    config,
    routes: functions.routes,
    invocations: functions,
    gate,
    queues,
    metricsText,
  });
  const proxies = listOf(config.trustedProxies);
  const listener = new Listener({
    bodyLimit: config.bodyLimit,
    proxies: proxies.length > 0 ? new AddressSet(proxies) : undefined,
    patience: { ...CLIENT_PATIENCE, ...options.patience },
    open: (connection, head, requestId) => dispatcher.open(connection, head, requestId),
    refused: (error) => functions.failed(error),
  });
  const report = (): void => {
    invocations?.flush().catch(() => {}); // The same: records are not worth waiting for.
    redis?.hset(LOAD_HASH, id, JSON.stringify(functions.report())).catch(() => {}); // Redis is away: the next one.
  };
  const reporter = setInterval(report, REPORT_EVERY).unref();
  const rester = setInterval(() => functions.rest(), REST_EVERY).unref();

  const end = async (within: Millis = DRAIN_WITHIN): Promise<void> => {
    await listener.drain(within);
    clearInterval(reporter);
    clearInterval(rester);
    await invocations?.flush().catch(() => {});
    await gate[Symbol.asyncDispose]();
    await functions[Symbol.asyncDispose]();
    await queues?.[Symbol.asyncDispose]();
    await redis?.hdel(LOAD_HASH, id).catch(() => 0); // Redis is away: the report grows old by itself.
  };
  return {
    id,
    listen: (fd) => listener.listen(fd),
    listenTls: (fd, certificate) => listener.listenTls(fd, certificate),
    listenTrusted: (fd) => listener.listenTrusted(fd),
    facts: () => ({ connections: listener.size, ...functions.totals() }),
    metricsText,
    end,
    [Symbol.asyncDispose]: () => end(0),
  };
}
