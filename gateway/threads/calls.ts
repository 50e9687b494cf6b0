/** What the threads of a gateway say to each other. The coordinator has the connection to the worker process, and all that is
 *  told of the gateway as a whole; each of the others has a data plane. */

import type { MessagePort } from 'node:worker_threads';
import type { Config } from '../../core/config.ts';
import type { GatewayCalls, RoutableInstance, WorkerCalls } from '../../core/control.ts';
import type { Problem } from '../../core/errors.ts';
import type { InstanceId, RevisionId } from '../../core/ids.ts';
import type { LoadReport } from '../../core/records.ts';
import type { KeyPair } from '../certificate.ts';
import type { ClientPatience } from '../patience.ts';
import type { DrainLimits } from '../listener.ts';

type Nothing = Record<string, never>;

/** Calls to a data plane. The worker's own are passed on as they are. */
export interface PlaneCalls extends GatewayCalls {
  /** A new connection to the worker: what it routes from now on may be missing in the list that follows. */
  connecting: { in: Nothing; out: Nothing };
  /** That list. */
  sync: { in: { instances: readonly RoutableInstance[] }; out: Nothing };
  /** With a pair: for clients that speak TLS. */
  listen: { in: { fd: number; trusted: boolean; pair?: KeyPair }; out: Nothing };
  /** From now on new clients are shown this one. */
  certificate: { in: KeyPair; out: Nothing };
  report: { in: Nothing; out: LoadReport };
  /** prom-client's metrics as data. */
  metrics: { in: Nothing; out: { metrics: object[] } };
  revisionsOf: { in: { name: string }; out: { revisions: readonly RevisionId[] } };
  drain: { in: DrainLimits; out: Nothing };
  end: { in: Nothing; out: Nothing };
}

/** Calls to the coordinator. */
export interface CoordinatorCalls extends Pick<WorkerCalls, 'acquire' | 'loaded' | 'kill' | 'autopsy'> {
  ready: { in: Nothing; out: Nothing };
  /** A thread has found the instance dead; the worker may be away. */
  dead: { in: { instance: InstanceId; problem: Problem | undefined }; out: Nothing };
  metricsText: { in: Nothing; out: { text: string } };
  /** Where all threads send a function's requests. */
  revisionsOf: { in: { name: string }; out: { revisions: readonly RevisionId[] } };
}

/** Straight from one data plane to another: see Peers. */
export interface Nudge {
  readonly revision: RevisionId;
  /** Of a start; without it a slot may be free. */
  readonly failure?: Problem;
}

/** What a thread begins with. */
export interface ThreadData {
  readonly config: Config;
  readonly gateway: string;
  readonly index: number;
  readonly memory: SharedArrayBuffer;
  /** To each thread; its own place is empty. */
  readonly ports: readonly (MessagePort | undefined)[];
  readonly masterKey: Uint8Array | undefined;
  readonly patience: Partial<ClientPatience> | undefined;
  readonly connectionsMax: number | undefined;
}
