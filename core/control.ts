/** What a node's gateway and worker say to each other over the node-local control socket (FN_HOME/run/worker.sock). It
 *  carries what must be instant; what must survive a crash goes through the queues. The gateway connects and both sides
 *  call the other (core/rpc.ts). An instance belongs to exactly one gateway process at a time, so its slots are counted in
 *  one place and are exact. */

import type { AccountFiles, FreezerFile, Sample } from './account.ts';
import type { Problem } from './errors.ts';
import type { FunctionName, InstanceId, InvocationId, NodeId, RevisionId } from './ids.ts';
import type { EndReason, StartKind } from './records.ts';
import type { Millis } from './units.ts';

/** An instance a gateway may send requests to. */
export interface RoutableInstance {
  readonly id: InstanceId;
  readonly function: FunctionName;
  readonly revision: RevisionId;
  /** Path of the unix socket it answers on. */
  readonly socket: string;
  /** Invocations at once. */
  readonly concurrency: number;
  readonly start: StartKind;
  /** Its handler is not loaded yet. It may be sent to all the same: requests wait inside of it. `loaded` says when it is. */
  readonly loading?: true;
  /** What its invocations used is read here; without it they have no account. */
  readonly account?: AccountFiles;
  /** An idle instance is frozen here by its gateway, so that thawing it needs nobody else. */
  readonly freezer?: FreezerFile;
}

/** Calls a gateway makes to its worker. */
export interface WorkerCalls {
  /** First call on a connection. The worker then answers with the instances that belong to this gateway: of those it `holds`
   *  the ones that live, and what nobody has, unless it is `leaving`. */
  hello: {
    in: { gateway: string; holds: readonly InstanceId[]; leaving: boolean };
    out: { node: NodeId; instances: RoutableInstance[] };
  };
  /** Another gateway takes this one's place: its instances go there, each when it is idle. */
  leaving: { in: Record<string, never>; out: Record<string, never> };
  /** Start one more instance of the revision and hand it to the caller: one from the pool as soon as it is taken, so that
   *  the request is there when its handler is loaded; any other once it is ready. Fails at once, with the catalogue's error,
   *  when scale.max is reached, the revision is in back-off, or the start fails. */
  acquire: { in: { function: FunctionName; revision: RevisionId }; out: RoutableInstance };
  /** Answers once the handler of a `loading` instance is loaded; fails with why it never will be, and the instance has ended
   *  then. */
  loaded: { in: { instance: InstanceId }; out: Record<string, never> };
  /** End the instance now: an invocation passed its deadline, or it was for this one only. Answers when no process of it
   *  is left. */
  kill: { in: { instance: InstanceId; reason: 'timeout' | 'used'; invocation: string }; out: { gone: true } };
  /** The connection to the instance broke or its reply made no sense. The worker finds out how it ended (waiting up to
   *  500 ms for its exit to be seen) and says so; `alive` when it is running after all. `counters`: the last of its cgroup,
   *  which may be gone before a gateway comes to read it. */
  autopsy: {
    in: { instance: InstanceId };
    out: { alive: boolean; reason?: EndReason; problem?: Problem; counters?: Sample };
  };
  metrics: { in: Record<string, never>; out: { text: string } };
}

/** Calls a worker makes to a gateway. */
export interface GatewayCalls {
  /** From now on this instance is yours. */
  route: { in: { instance: RoutableInstance }; out: Record<string, never> };
  /** Send nothing more to it. `if-idle`: refuse when it is busy. `drain`: answer when its last invocation has ended or the
   *  deadline passed. */
  unroute: { in: { instance: InstanceId; mode: 'if-idle' | 'drain'; deadlineMs: Millis }; out: { idle: boolean } };
  /** It has ended; drop it. `problem`: why it never became ready. `served`: it had been given an invocation. */
  gone: { in: { instance: InstanceId; reason: EndReason; problem?: Problem }; out: { served: boolean } };
}

/** Headers between gateway, job consumer and instance. Names are lower case, as node gives them. */
export const HEADERS = {
  requestId: 'x-request-id',
  /** Unix ms at which the invocation is killed. */
  deadline: 'x-fn-deadline',
  /** `warm|thawed|claimed|cold;ms=<time the request waited for its instance>` on replies. */
  start: 'x-fn-start',
  /** The error code, on every reply that the platform made itself. */
  error: 'x-fn-error',
  /** On replies: which instance and revision answered. */
  instance: 'x-fn-instance',
  revision: 'x-fn-revision',
  /** Set by the job consumer, passed on to the function. */
  invocation: 'x-fn-invocation-id',
  attempt: 'x-fn-attempt',
  queue: 'x-fn-queue',
  jobName: 'x-fn-job-name',
  /** Who calls, as the gateway found out: the name of the API key. Passed on to the function. */
  keyName: 'x-fn-key-name',
  /** The claims of its token: JSON, base64url. */
  claims: 'x-fn-claims',
} as const;

/** What the worker posts to a generic sandbox, at CLAIM_PATH on its socket, to make it an instance of a function. The reply
 *  is 200 `{"ready":true,"ms":…}` or 500 `{"error":{"name","message","stack","kind":"missing"|"load"}}`. */
export interface ClaimRequest {
  readonly function: FunctionName;
  readonly revision: RevisionId;
  readonly instance: InstanceId;
  readonly handler: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: Millis;
  readonly memoryBytes: number;
}
export const CLAIM_PATH = '/_fn/claim';
/** On requests of the worker to a sandbox. Callers' requests never have it, since the gateway drops what begins with x-fn-;
 *  without it a path says nothing: a call may be there before the claim. */
export const WORKER_FIELD = 'x-fn-worker';
/** Where the code appears in a sandbox. */
export const TASK_PATH = '/task';
/** The listening unix socket a sandbox inherits. */
export const LISTEN_FD = 3;

/** A log line of an instance starts with this mark, the invocation id and a space when the runtime knows it:
 *  `\x1e<id> text`. A function can forge it, and so misfile its own lines, nobody else's. */
export const LOG_MARK = '\x1e';

/** The state of one asynchronous invocation, GET /invocations/<id>. */
export interface InvocationStatus {
  readonly id: InvocationId;
  readonly function: FunctionName;
  readonly state: 'waiting' | 'active' | 'delayed' | 'completed' | 'failed';
  readonly attempts: number;
  readonly createdAt: Millis;
  readonly finishedAt?: Millis;
  readonly result?: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
    readonly base64?: boolean;
  };
  readonly error?: Problem;
}
