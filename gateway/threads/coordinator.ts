/** A gateway of several threads. The data planes run in threads of their own, accept from the same sockets, and find slots
 *  and waiting rooms in memory they share (gateway/slots/); this one, which serves no client, is to the worker process, the
 *  controller and the supervisor what a gateway of one thread is: one name, one list of instances, one report.
 *
 *  An instance is announced to every thread before whoever asked for it hears of it, and taken back from every thread before
 *  the worker hears that it is. Meanwhile the marks in its shared cell count, which all threads see at once. */

import { AggregatorRegistry } from 'prom-client';
import type { GatewayCalls } from '../../core/control.ts';
import type { InstanceId, RevisionId } from '../../core/ids.ts';
import type { Handlers } from '../../core/rpc.ts';
import { duplicateFd } from '../../core/sockets.ts';
import type { Millis } from '../../core/units.ts';
import { WorkerLink } from '../control.ts';
import type { Gateway, GatewayOptions } from '../gateway.ts';
import { CLIENT_PATIENCE } from '../patience.ts';
import type { DrainLimits } from '../listener.ts';
import { mergeReports } from '../load.ts';
import { DRAIN_IDLE, DRAIN_WITHIN, TUNNELS_WITHIN } from '../plane.ts';
import { reportLoad } from '../report.ts';
import { Rows, sharedRows } from '../slots/rows.ts';
import { sumOf, ThreadFacts } from '../slots/thread-facts.ts';
import type { PlaneCalls } from './calls.ts';
import { Crew } from './crew.ts';

/** To close what is left after draining, and to say so. */
const MARGIN: Millis = 5000;

export async function inThreads(options: GatewayOptions, id: string, count: number): Promise<Gateway> {
  const { config, log, redis, metrics, masterKey, patience, connectionsMax } = options;
  const metricsText = async (): Promise<string> => {
    const own = await metrics.registry.getMetricsAsJSON();
    const parts = await crew.all('metrics', {});
    return AggregatorRegistry.aggregate([own, ...parts.map((part) => part.metrics)]).metrics();
  };
  const held = new Set<InstanceId>();
  /** When the connection to the worker was made. */
  let before: readonly InstanceId[] = [];
  const crew = new Crew(log, {
    async acquire({ function: name, revision }) {
      const instance = await link.acquire(name, revision);
      held.add(instance.id);
      await crew.all('route', { instance }).catch(() => {}); // One that is slow hears of it later; others need it now.
      return instance;
    },
    async loaded({ instance }) {
      await link.loaded(instance);
      return {};
    },
    async kill({ instance, reason, invocation }) {
      await link.kill(instance, reason, invocation);
      held.delete(instance);
      crew.tell('gone', { instance, reason });
      return { gone: true };
    },
    autopsy: ({ instance }) => link.autopsy(instance),
    dead({ instance, problem }) {
      held.delete(instance);
      crew.tell('gone', { instance, reason: 'lost', ...(problem && { problem }) });
      return {};
    },
    metricsText: async () => ({ text: await metricsText() }),
    revisionsOf: async ({ name }) => ({ revisions: await revisionsOf(crew, name) }),
  });
  const memory = sharedRows(count);
  const rows = new Rows(memory);
  const facts = Array.from({ length: count }, (_, index) => new ThreadFacts(rows, index));
  await crew.start(count, { config, gateway: id, memory, masterKey, patience, connectionsMax });
  const link = new WorkerLink({
    socket: config.paths.workerSocket,
    gateway: id,
    handlers: workerCallsTo(crew, held),
    holds: () => [...held],
    onConnecting() {
      before = [...held];
      crew.tell('connecting', {});
    },
    onInstances(instances) {
      crew.tell('sync', { instances });
      for (const instance of before) held.delete(instance);
      for (const { id: instance } of instances) held.add(instance);
    },
    startTimeout: config.startTimeout,
    log,
  });
  const reporting = reportLoad(redis, id, async () => mergeReports(await crew.all('report', {})));

  const listen = async (fd: number, how: Omit<PlaneCalls['listen']['in'], 'fd'>): Promise<void> => {
    const fds = Array.from({ length: count }, (_, index) => (index === 0 ? fd : duplicateFd(fd)));
    await Promise.all(fds.map((own, index) => crew.ask(index, 'listen', { fd: own, ...how })));
  };
  const slow = (error: unknown): void => log.warn({ err: error }, 'a gateway thread could not end in time');
  const drain = (limits: DrainLimits): Promise<unknown> =>
    crew.all('drain', limits, limits.within + MARGIN).catch(slow);
  const stop = (within: Millis): Promise<unknown> => drain({ within, idle: DRAIN_IDLE, tunnels: within });
  const close = async (): Promise<void> => {
    await reporting[Symbol.asyncDispose]();
    await link[Symbol.asyncDispose]();
    await crew.all('end', {}).catch(slow);
    await crew[Symbol.asyncDispose]();
  };
  let closing: Promise<void> | undefined;
  const end = async (within: Millis): Promise<void> => {
    await stop(within);
    await (closing ??= close());
  };
  return {
    id,
    listen: (fd) => listen(fd, { trusted: false }),
    listenTrusted: (fd) => listen(fd, { trusted: true }),
    async listenTls(fd, certificate) {
      await listen(fd, { trusted: false, pair: certificate.pair });
      certificate.onChange((pair) => crew.tell('certificate', pair));
    },
    facts: () => ({ ...sumOf(facts.map((thread) => thread.read())), worker: link.connected, threads: count }),
    metricsText,
    revisionsOf: (name) => revisionsOf(crew, name),
    end: (within = DRAIN_WITHIN) => end(within),
    async handOver(within, hurry) {
      hurry.addEventListener('abort', () => void stop(DRAIN_WITHIN), { once: true });
      const idle = patience?.idle ?? CLIENT_PATIENCE.idle;
      const drained = drain({ within, idle, tunnels: TUNNELS_WITHIN });
      await link.leave();
      await drained;
      await (closing ??= close());
    },
    [Symbol.asyncDispose]: () => (closing ? closing : end(0)),
  };
}

/** What the worker may ask of a gateway, asked of all its threads. */
function workerCallsTo(crew: Crew, held: Set<InstanceId>): Handlers<GatewayCalls> {
  return {
    async route(input) {
      held.add(input.instance.id);
      await crew.all('route', input);
      return {};
    },
    async unroute(input) {
      if (input.mode === 'drain') {
        const replies = await crew.all('unroute', input, input.deadlineMs + MARGIN);
        const idle = replies.every((reply) => reply.idle);
        if (idle) held.delete(input.instance);
        return { idle };
      }
      // The first that knows it marks it or finds it busy; for the others it is marked already.
      for (let index = 0; index < crew.size; index++) {
        const { idle } = await crew.ask(index, 'unroute', input);
        if (!idle) return { idle };
      }
      held.delete(input.instance);
      return { idle: true };
    },
    async gone(input) {
      held.delete(input.instance);
      const replies = await crew.all('gone', input);
      return { served: replies.some(({ served }) => served) };
    },
  };
}

/** Where all threads send a function's requests. */
async function revisionsOf(crew: Crew, name: string): Promise<RevisionId[]> {
  const [first, ...others] = await crew.all('revisionsOf', { name });
  return (first?.revisions ?? []).filter((revision) => others.every((other) => other.revisions.includes(revision)));
}
