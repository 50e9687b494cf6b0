/** One of several threads of a gateway: a data plane with connections of its own to Redis, and slots, waiting rooms and loads
 *  in memory that it shares with the others. An error that nobody catches ends the whole process, as in a gateway of one
 *  thread. */

import { parentPort, workerData } from 'node:worker_threads';
import { FnError, fromProblem } from '../../core/errors.ts';
import type { RevisionId } from '../../core/ids.ts';
import { createLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { RedisStore } from '../../core/store/redis.ts';
import type { Millis } from '../../core/units.ts';
import type { KeyPair } from '../certificate.ts';
import { Plane } from '../plane.ts';
import type { Peers } from '../slots/room.ts';
import { Rows } from '../slots/rows.ts';
import type { CoordinatorCalls, Nudge, PlaneCalls, ThreadData } from './calls.ts';
import { type Port, PortPeer } from './port-peer.ts';

const COUNT_EVERY: Millis = 100;
const REDIS_WITHIN: Millis = 15_000;
/** For what is answered from memory. */
const SOON: Millis = 5000;
/** The coordinator has deadlines for what it asks of the worker; these are for one that does not answer. */
const MARGIN: Millis = 15_000;

const { config, gateway, index, memory, ports, masterKey, patience, connectionsMax } = workerData as ThreadData;
const startWithin = 2 * config.startTimeout + MARGIN;
const redis = connectRedis(config, 'failFast');
await waitForRedis(redis, REDIS_WITHIN);

const nudge = (thread: number, message: Nudge): void => ports[thread]?.postMessage(message);
const peers: Peers = {
  index,
  count: ports.length,
  wake: (thread, revision) => nudge(thread, { revision }),
  startFailed: (thread, revision, failure) => nudge(thread, { revision, failure: failure.toProblem() }),
};
const plane = await Plane.open({
  config,
  gateway,
  store: new RedisStore(redis),
  redis,
  masterKey,
  log: createLog('gateway', config.logLevel).child({ thread: index }),
  metrics: new Metrics(),
  patience,
  connectionsMax,
  rows: new Rows(memory),
  peers,
  metricsText: async () => (await coordinator.call('metricsText', {}, SOON)).text,
  revisionsOf: async (name) => (await coordinator.call('revisionsOf', { name }, SOON)).revisions,
});
const { functions, listener } = plane;
const { fleet } = functions;
for (const port of ports) port?.on('message', ({ revision, failure }: Nudge) => nudged(revision, failure));

/** The TLS ports' certificate: the coordinator reads the files. */
const certificate = {
  pair: { cert: '', key: '' } as KeyPair,
  listeners: new Set<(pair: KeyPair) => void>(),
  onChange: (changed: (pair: KeyPair) => void) => void certificate.listeners.add(changed),
};

const coordinator = new PortPeer<CoordinatorCalls, PlaneCalls>(parentPort as Port, {
  ...fleet.handlers,
  connecting() {
    fleet.connecting();
    return {};
  },
  sync({ instances }) {
    fleet.sync(instances);
    return {};
  },
  async listen({ fd, trusted, pair }) {
    if (pair) {
      certificate.pair = pair;
      await listener.listenTls(fd, certificate);
    } else await (trusted ? listener.listenTrusted(fd) : listener.listen(fd));
    return {};
  },
  certificate(pair) {
    certificate.pair = pair;
    for (const changed of certificate.listeners) changed(pair);
    return {};
  },
  report: () => functions.report(),
  metrics: async () => ({ metrics: await plane.metrics().registry.getMetricsAsJSON() }),
  revisionsOf: ({ name }) => ({ revisions: functions.revisionsOf(name) }),
  async drain(limits) {
    await listener.drain(limits);
    return {};
  },
  async end() {
    clearInterval(counter);
    await plane[Symbol.asyncDispose]();
    redis.disconnect();
    return {};
  },
});
fleet.attach({
  acquire: (name, revision) => coordinator.call('acquire', { function: name, revision }, startWithin),
  async loaded(instance) {
    await coordinator.call('loaded', { instance }, startWithin);
  },
  async kill(instance, reason, invocation) {
    await coordinator.call('kill', { instance, reason, invocation }, MARGIN);
  },
  autopsy: (instance) => coordinator.call('autopsy', { instance }, MARGIN),
  dead: (instance, problem) => void coordinator.call('dead', { instance, problem }, SOON).catch(() => {}), // The worker says so, too.
});

const counter = setInterval(() => void (functions.facts.connections = listener.size), COUNT_EVERY).unref();
await coordinator.call('ready', {}, SOON);

function nudged(revision: RevisionId, failure: Nudge['failure']): void {
  if (failure === undefined) functions.wake(revision);
  else functions.startFailed(revision, fromProblem(failure) ?? new FnError('internal', failure.detail));
}
