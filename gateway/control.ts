/** The gateway's end of the control socket: asks the worker for instances and tells it of broken ones. While the worker is
 *  away the instances we have stay ours and keep answering; we connect again and compare notes. */

import { connect } from 'node:net';
import { backoff, sleep } from '../core/clock.ts';
import type { GatewayCalls, RoutableInstance, WorkerCalls } from '../core/control.ts';
import { FnError, type Problem } from '../core/errors.ts';
import type { FunctionName, InstanceId, RevisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import { type Handlers, RpcPeer } from '../core/rpc.ts';
import type { Millis } from '../core/units.ts';

export type Autopsy = WorkerCalls['autopsy']['out'];

/** What a gateway asks of its worker. */
export interface WorkerSide {
  /** Starts an instance. A worker that is away, or goes away meanwhile, is waited for once. */
  acquire(name: FunctionName, revision: RevisionId): Promise<RoutableInstance>;
  /** Resolves once a `loading` instance is ready; rejects with why it never will be. */
  loaded(instance: InstanceId): Promise<void>;
  /** Resolves when no process of the instance is left. */
  kill(instance: InstanceId, reason: 'timeout' | 'used', invocation: string): Promise<void>;
  autopsy(instance: InstanceId): Promise<Autopsy>;
  /** For whoever else has the instance: it was found dead. */
  dead?(instance: InstanceId, problem: Problem | undefined): void;
}

export interface WorkerLinkOptions {
  readonly socket: string;
  /** Who we are. */
  readonly gateway: string;
  readonly handlers: Handlers<GatewayCalls>;
  /** The instances that are ours. */
  readonly holds: () => readonly InstanceId[];
  /** A new connection: the worker may route to us from now on. */
  readonly onConnecting: () => void;
  /** What belonged to us when the worker answered, each time we have connected. */
  readonly onInstances: (instances: readonly RoutableInstance[]) => void;
  readonly startTimeout: Millis;
  readonly log: Log;
}

/** How long a request waits for a worker that is away; one that is replaced is back within a second or two. */
export const WORKER_WAIT: Millis = 10_000;
const HELLO_TIMEOUT: Millis = 5000;
const KILL_TIMEOUT: Millis = 5000;
const AUTOPSY_TIMEOUT: Millis = 2000;
/** The worker bounds a start itself; this is for one that does not answer. */
const START_MARGIN: Millis = 5000;

export class WorkerLink implements WorkerSide, AsyncDisposable {
  readonly #options: WorkerLinkOptions;
  #peer: RpcPeer<WorkerCalls, GatewayCalls> | undefined;
  /** Calls that wait for the worker to come back. */
  readonly #waiting = new Set<() => void>();
  readonly #closing = new AbortController();
  #leaving = false;
  readonly #loop: Promise<void>;

  constructor(options: WorkerLinkOptions) {
    this.#options = options;
    this.#loop = this.#run();
  }

  get connected(): boolean {
    return this.#peer !== undefined;
  }

  async acquire(name: FunctionName, revision: RevisionId): Promise<RoutableInstance> {
    for (let attempt = 0; ; attempt++) {
      const peer = await this.#connectedPeer();
      try {
        return await peer.call('acquire', { function: name, revision }, this.#startWithin);
      } catch (error) {
        if (attempt > 0 || !(error instanceof FnError) || error.code !== 'process.down' || this.#peer === peer)
          throw error;
      }
    }
  }

  async loaded(instance: InstanceId): Promise<void> {
    await this.#connected.call('loaded', { instance }, this.#startWithin);
  }

  async kill(instance: InstanceId, reason: 'timeout' | 'used', invocation: string): Promise<void> {
    const peer = await this.#connectedPeer();
    await peer.call('kill', { instance, reason, invocation }, KILL_TIMEOUT);
  }

  /** Another gateway takes our place: the worker takes each instance from us when it is idle, and gives us one only for
   *  requests that still come. */
  async leave(): Promise<void> {
    this.#leaving = true; // A worker that is away hears it when it is back.
    await this.#peer?.call('leaving', {}, HELLO_TIMEOUT).catch(() => {});
  }

  async autopsy(instance: InstanceId): Promise<Autopsy> {
    return this.#connected.call('autopsy', { instance }, AUTOPSY_TIMEOUT);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#peer?.close();
    for (const wake of this.#waiting) wake();
    await this.#loop;
  }

  get #startWithin(): Millis {
    return this.#options.startTimeout + START_MARGIN;
  }

  get #connected(): RpcPeer<WorkerCalls, GatewayCalls> {
    if (!this.#peer) throw new FnError('process.down', 'the worker is away');
    return this.#peer;
  }

  #connectedPeer(): Promise<RpcPeer<WorkerCalls, GatewayCalls>> {
    if (this.#peer) return Promise.resolve(this.#peer);
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        if (this.#peer) resolve(this.#peer);
        else reject(new FnError('process.down', 'the worker of this node is not there', { retryAfterS: 1 }));
      };
      const timer = setTimeout(wake, WORKER_WAIT);
      this.#waiting.add(wake);
    });
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      const peer = await this.#connect();
      if (peer) {
        attempt = 0;
        this.#peer = peer;
        if (this.#closing.signal.aborted) peer.close(); // Disposed of while the worker was answering hello.
        for (const wake of this.#waiting) wake();
        await peer.closed;
        this.#peer = undefined;
        if (!this.#closing.signal.aborted) this.#options.log.warn('worker is away');
      }
      await sleep(backoff(attempt, 20, 500), this.#closing.signal).catch(() => {}); // Aborted: the loop ends.
    }
  }

  async #connect(): Promise<RpcPeer<WorkerCalls, GatewayCalls> | undefined> {
    const { socket: path, gateway, handlers, onConnecting, onInstances, log } = this.#options;
    const socket = connect({ path });
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false)); // Not there yet: tried again.
    });
    if (!open) return undefined;
    onConnecting();
    const peer = new RpcPeer<WorkerCalls, GatewayCalls>(socket, handlers);
    if (this.#closing.signal.aborted) peer.close();
    const hello = { gateway, holds: this.#options.holds(), leaving: this.#leaving };
    try {
      const { instances } = await peer.call('hello', hello, HELLO_TIMEOUT);
      onInstances(instances);
      log.info({ instances: instances.length }, 'worker connected');
      return peer;
    } catch (error) {
      log.warn({ err: error }, 'worker did not answer hello');
      peer.close();
      return undefined;
    }
  }
}
