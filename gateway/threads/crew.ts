/** The threads that the coordinator started: asked together, ended together. One that ends by itself takes the process with
 *  it, for its state is unknown and the others count on what it shares with them. */

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { Log } from '../../core/log.ts';
import type { Handlers } from '../../core/rpc.ts';
import type { Millis } from '../../core/units.ts';
import type { CoordinatorCalls, PlaneCalls, ThreadData } from './calls.ts';
import { PortPeer } from './port-peer.ts';

const READY_WITHIN: Millis = 30_000;
/** For what a thread answers from memory, however busy it is. */
const SOON: Millis = 5000;

/** What the coordinator answers to any of its threads. */
export type Answers = Omit<Handlers<CoordinatorCalls>, 'ready'>;

export class Crew implements AsyncDisposable {
  readonly #log: Log;
  readonly #answers: Answers;
  readonly #workers: Worker[] = [];
  readonly #peers: PortPeer<PlaneCalls, CoordinatorCalls>[] = [];
  #isRunning = false;

  constructor(log: Log, answers: Answers) {
    this.#log = log;
    this.#answers = answers;
  }

  get size(): number {
    return this.#peers.length;
  }

  /** Starts the threads; resolves when each is ready to listen. */
  async start(count: number, common: Omit<ThreadData, 'index' | 'ports'>): Promise<void> {
    const mesh = meshOf(count);
    await Promise.all(mesh.map((ports, index) => this.#launch({ ...common, index, ports })));
    this.#isRunning = true;
  }

  /** Asks one. */
  ask<K extends keyof PlaneCalls>(
    index: number,
    call: K,
    input: PlaneCalls[K]['in'],
    within: Millis = SOON,
  ): Promise<PlaneCalls[K]['out']> {
    return this.#peers[index]!.call(call, input, within);
  }

  /** Asks all at once; rejects when one of them fails. */
  all<K extends keyof PlaneCalls>(
    call: K,
    input: PlaneCalls[K]['in'],
    within: Millis = SOON,
  ): Promise<PlaneCalls[K]['out'][]> {
    return Promise.all(this.#peers.map((peer) => peer.call(call, input, within)));
  }

  /** The same for who need not wait: each thread hears what it is told in order. */
  tell<K extends keyof PlaneCalls>(call: K, input: PlaneCalls[K]['in']): void {
    this.all(call, input).catch((error: unknown) => this.#log.warn({ err: error, call }, 'a gateway thread is slow'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    for (const peer of this.#peers) peer.close();
  }

  #launch(data: ThreadData): Promise<void> {
    const { index, ports } = data;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const transferList = ports.filter((port) => port !== undefined);
    const worker = new Worker(new URL('./thread.ts', import.meta.url), { workerData: data, transferList });
    const timer = setTimeout(() => reject(new Error(`gateway thread ${index} did not start`)), READY_WITHIN);
    const ended = (error: unknown): void => {
      if (this.#isRunning) throw error;
      reject(error);
    };
    worker.once('error', ended);
    worker.once('exit', (code) => ended(new Error(`gateway thread ${index} ended with ${code}`)));
    this.#workers[index] = worker;
    this.#peers[index] = new PortPeer<PlaneCalls, CoordinatorCalls>(worker, {
      ...this.#answers,
      ready() {
        resolve();
        return {};
      },
    });
    return promise.finally(() => clearTimeout(timer));
  }
}

/** A channel between each two threads: row n is for thread n. */
function meshOf(count: number): (MessagePort | undefined)[][] {
  const rows = Array.from({ length: count }, () => Array.from<MessagePort | undefined>({ length: count }));
  for (let a = 0; a < count; a++) {
    for (let b = a + 1; b < count; b++) {
      const { port1, port2 } = new MessageChannel();
      rows[a]![b] = port1;
      rows[b]![a] = port2;
    }
  }
  return rows;
}
