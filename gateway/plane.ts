/** A data plane: everything between a client's socket and an instance's. A gateway has one in its only thread, or one in each
 *  of several; it needs neither Redis, controller nor worker to keep answering from instances that are ready. This file only
 *  puts the parts together:
 *
 *    listener → connection → dispatch → policy/gate ┬→ invocation → slots → upstream → the instance
 *                                                   └→ page (async, invocations, health, metrics)
 *    functions: records and instances behind all of it */

import type { Redis } from 'ioredis';
import { AddressSet } from '../core/addresses.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Config, listOf } from '../core/config.ts';
import { toFnError } from '../core/errors.ts';
import { InvocationWriter } from '../core/invocation-log.ts';
import type { RevisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { SecretBox } from '../core/secrets.ts';
import type { Store } from '../core/store/store.ts';
import { Tracer } from '../core/tracer.ts';
import type { Millis } from '../core/units.ts';
import { AsyncQueues } from './async.ts';
import { CLIENT_PATIENCE, type ClientPatience } from './patience.ts';
import { Dispatcher } from './dispatch.ts';
import { Functions } from './functions.ts';
import { Ledger } from './ledger.ts';
import { connectionsMax, Listener } from './listener.ts';
import { Gate } from './policy/gate.ts';
import type { Peers } from './slots/room.ts';
import type { Rows } from './slots/rows.ts';
import type { Facts } from './slots/thread-facts.ts';

export interface PlaneOptions {
  readonly config: Config;
  readonly gateway: string;
  readonly store: Store;
  /** For what is asynchronous; without it a gateway only invokes. */
  readonly redis: Redis | undefined;
  /** Opens the secrets of webhooks; without it those are refused. */
  readonly masterKey: Uint8Array | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock?: Clock | undefined;
  /** Instead of CLIENT_PATIENCE. */
  readonly patience?: Partial<ClientPatience> | undefined;
  /** Client connections at once; as many as the process may have by default. */
  readonly connectionsMax?: number | undefined;
  readonly rows: Rows;
  readonly peers: Peers;
  // What is told of the gateway as a whole.
  readonly metricsText: () => Promise<string>;
  readonly revisionsOf: (name: string) => Promise<readonly RevisionId[]>;
}

const FLUSH_EVERY: Millis = 1000;
const REST_EVERY: Millis = 250;
/** For what is in flight when a gateway ends. */
export const DRAIN_WITHIN: Millis = 30_000;
/** At the end, a connection idle for this long is closed; one that was just used may be used again now. */
export const DRAIN_IDLE: Millis = 500;
/** How long other protocols go on in a gateway that was replaced. */
export const TUNNELS_WITHIN: Millis = 30_000;

interface Parts {
  readonly functions: Functions;
  readonly gate: Gate;
  readonly ledger: Ledger;
  readonly records: InvocationWriter | undefined;
  readonly queues: AsyncQueues | undefined;
}

export class Plane implements AsyncDisposable {
  readonly functions: Functions;
  readonly listener: Listener;
  readonly #gate: Gate;
  readonly #ledger: Ledger;
  readonly #metrics: Metrics;
  readonly #queues: AsyncQueues | undefined;
  readonly #records: InvocationWriter | undefined;
  readonly #timers: readonly NodeJS.Timeout[];

  private constructor(options: PlaneOptions, parts: Parts) {
    const { config, metrics, metricsText, revisionsOf } = options;
    const { functions, gate, ledger, records, queues } = parts;
    this.functions = functions;
    this.#gate = gate;
    this.#ledger = ledger;
    this.#metrics = metrics;
    this.#records = records;
    this.#queues = queues;
    const dispatcher = new Dispatcher({
      config,
      routes: functions.routes,
      invocations: functions,
      gate,
      queues,
      metricsText,
      revisionsOf,
    });
    const proxies = listOf(config.trustedProxies);
    this.listener = new Listener({
      bodyLimit: config.bodyLimit,
      proxies: proxies.length > 0 ? new AddressSet(proxies) : undefined,
      patience: { ...CLIENT_PATIENCE, ...options.patience },
      open: (connection, head, requestId) => dispatcher.open(connection, head, requestId),
      refused: (error) => functions.failed(error),
      dropped: (why, count) => metrics.counter('fn_connections_dropped_total').inc({ why }, count),
      // Threads share the descriptors of the process.
      connectionsMax: Math.floor((options.connectionsMax ?? connectionsMax()) / options.peers.count),
    });
    this.#timers = [
      setInterval(() => options.peers.index === 0 && functions.rest(), REST_EVERY).unref(), // One does it for all.
      setInterval(() => void this.#flush(), FLUSH_EVERY).unref(),
    ];
  }

  static async open(options: PlaneOptions): Promise<Plane> {
    const { config, store, redis, masterKey, log, metrics, clock = systemClock } = options;
    const ledger = new Ledger(metrics);
    const records = redis && new InvocationWriter(redis);
    const queues = redis && new AsyncQueues(redis);
    const tracer = Tracer.open({ config, role: 'gateway', log, metrics });
    const functions = await Functions.open({
      ...options,
      tracer,
      ledger,
      invocations: records,
      clock,
      onRemoved: (name) => queues?.drop(name),
    });
    const gate = await Gate.open({
      store,
      metrics,
      ...(redis && { redis }),
      ...(masterKey && { secrets: new SecretBox(masterKey) }),
      clock,
      failed: (error) => functions.failed(error),
      onError: (error) => log.debug({ err: toFnError(error) }, 'policies not refreshed'),
    });
    return new Plane(options, { functions, gate, ledger, records, queues });
  }

  facts(): Facts {
    return { ...this.functions.facts.read(), connections: this.listener.size };
  }

  /** The metrics, up to date. */
  metrics(): Metrics {
    this.#gate.prune((name) => this.functions.routes.get(name) !== undefined);
    this.#ledger.flush(this.functions.busy());
    return this.#metrics;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.listener[Symbol.asyncDispose]();
    await this.#flush();
    await this.#gate[Symbol.asyncDispose]();
    await this.functions[Symbol.asyncDispose]();
    await this.functions.tracer?.[Symbol.asyncDispose]();
    await this.#queues?.[Symbol.asyncDispose]();
  }

  /** Records are not worth waiting for: what Redis does not take is let go. */
  async #flush(): Promise<void> {
    await this.#records?.flush().catch(() => {});
  }
}
