/** The records in the store: what is wanted (function, revision, key, secret) and what is (instance, node). They are
 *  separate, each has a resource version, and each kind has one writer: the controller and its API write what is wanted, a
 *  node's worker writes its instances and its node record. */

import type { Problem } from './errors.ts';
import type { Digest, FunctionName, InstanceId, NodeId, RevisionId } from './ids.ts';
import type { FunctionSpec } from './spec.ts';
import type { Bytes, Millis } from './units.ts';

/** A revision and its part of the requests. */
export interface Share {
  readonly revision: RevisionId;
  /** Per cent; those of one list sum to 100. */
  readonly weight: number;
}

/** A name beside the function's own (core/aliases.ts). */
export interface Alias {
  readonly targets: readonly Share[];
  /** Requests with the same value of this go to the same revision: STICKY_PATTERN. */
  readonly sticky?: string;
}

/** Desired state of one function. Key: the name. */
export interface FunctionRecord {
  readonly name: FunctionName;
  /** Where requests go. Empty until a first revision is ready. */
  readonly traffic: readonly Share[];
  /** By name. The revisions they point at are kept. */
  readonly aliases?: Readonly<Record<string, Alias>>;
  /** A revision that must prove itself: it gets traffic once one instance of it is ready. */
  readonly candidate?: { readonly revision: RevisionId; readonly since: Millis };
  /** The last candidate that did not: why it never got traffic. */
  readonly failed?: { readonly revision: RevisionId; readonly at: Millis; readonly problem: Problem };
  /** The number of the newest revision. */
  readonly latest: number;
  /** Set by `fn rm`: instances drain, then the record goes. */
  readonly deletingSince?: Millis;
  readonly createdAt: Millis;
  readonly updatedAt: Millis;
}

/** Image plus configuration, never changed once written. Key: its id. */
export interface RevisionRecord {
  readonly id: RevisionId;
  readonly function: FunctionName;
  readonly image: Digest;
  readonly spec: FunctionSpec;
  readonly createdAt: Millis;
}

/** `starting → ready → draining → stopped`, or `failed` from the first two. `stopped` and `failed` are final. */
export type InstanceState = 'starting' | 'ready' | 'draining' | 'stopped' | 'failed';

/** How an invocation found its instance. cold: a sandbox was made for it; claimed: a warm one was specialised. */
export type StartKind = 'warm' | 'thawed' | 'claimed' | 'cold';

/** Why an instance ended. The first five are the platform's doing, the others the function's or the host's. */
export type EndReason =
  | 'scaled-down'
  | 'replaced'
  | 'removed'
  | 'used' // isolation: invocation, and it has served its one
  | 'shutdown'
  | 'exit' // the process ended by itself: exitCode
  | 'signal' // a signal from outside the platform: signal
  | 'oom' // the cgroup's memory limit
  | 'timeout' // killed because an invocation passed its deadline
  | 'load-error' // the module threw, or the handler does not exist
  | 'start-timeout' // never became ready
  | 'lost'; // the worker that ran it is gone and left no trace of how it ended

/** One instance as its worker sees it. Key: its id. Kept a while after the end, for `fn inspect`. */
export interface InstanceRecord {
  readonly id: InstanceId;
  readonly function: FunctionName;
  readonly revision: RevisionId;
  readonly node: NodeId;
  readonly state: InstanceState;
  readonly start?: { readonly kind: StartKind; readonly ms: Millis };
  readonly createdAt: Millis;
  readonly readyAt?: Millis;
  readonly end?: {
    readonly at: Millis;
    readonly reason: EndReason;
    readonly exitCode?: number;
    readonly signal?: string;
    readonly problem?: Problem;
  };
}

/** A host. Key: its id. Rewritten every few seconds; `expiresAt` is its lease. */
export interface NodeRecord {
  readonly id: NodeId;
  readonly driver: 'crun' | 'runc';
  readonly cgroup: 'v1' | 'v2';
  readonly cpus: number;
  readonly memory: Bytes;
  readonly startedAt: Millis;
  readonly expiresAt: Millis;
}

/** One line of the controller's diary. Kept per function, newest first, at most 100. */
export interface DecisionRecord {
  readonly at: Millis;
  readonly function: FunctionName;
  /** The rule that fired, for example `scale-to-zero`. */
  readonly rule: string;
  /** One sentence for a person. */
  readonly reason: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly actions: readonly string[];
}

/** What one gateway knows of the load of functions, by revision: who has which traffic is for the controller to say. Volatile: kept in a hash with the gateway's heartbeat, not in the store. */
export interface LoadReport {
  readonly gateway: string;
  readonly at: Millis;
  readonly revisions: Readonly<
    Record<
      string,
      {
        readonly inFlight: number;
        readonly waiting: number;
        /** Mean of inFlight + waiting over the time since the last report; what short requests amount to between two
         *  looks. Without it the sum at the moment of the report stands in. */
        readonly average?: number;
        /** Highest inFlight + waiting since the last report. */
        readonly peak: number;
        /** Invocations that arrived since the last report. */
        readonly arrivals: number;
        /** Time since the last invocation ended or began, ms. */
        readonly idleMs: Millis;
      }
    >
  >;
}

/** Starts under way on one node that have no instance record yet. Volatile, as the load is. */
export interface BeginningsReport {
  readonly at: Millis;
  readonly revisions: Readonly<Record<string, number>>;
}

/** An API key. Key: its name. Written by the control API, read by gateways. */
export interface KeyRecord {
  readonly name: string;
  /** What the key's text begins with after `fnk_`: enough to tell which one it is. */
  readonly id: string;
  /** SHA-256 of the text, hexadecimal. */
  readonly hash: string;
  /** What it opens; every function when absent. */
  readonly functions?: readonly FunctionName[];
  readonly createdAt: Millis;
  readonly expiresAt?: Millis;
}

/** A secret. Key: its name. Written by the control API; its value leaves the platform nowhere. */
export interface SecretRecord {
  readonly name: string;
  /** core/secrets.ts. */
  readonly sealed: string;
  readonly createdAt: Millis;
  readonly updatedAt: Millis;
}

export interface Records {
  function: FunctionRecord;
  revision: RevisionRecord;
  instance: InstanceRecord;
  node: NodeRecord;
  key: KeyRecord;
  secret: SecretRecord;
}
export type Kind = keyof Records;
