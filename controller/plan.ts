/** What to do about one function: desired state and observed state in, actions out. Pure, and callable again at any time:
 *  when the world already is as it should be, there is nothing to do. Every action is safe to repeat. */

import { aliasShares } from '../core/aliases.ts';
import { type ErrorCode, FnError, type Problem, unreachable } from '../core/errors.ts';
import type { InstanceId, NodeId, RevisionId } from '../core/ids.ts';
import type { EndReason, FunctionRecord, InstanceRecord, RevisionRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';

/** Ended instances stay this long, and at most so many of a function, for `fn inspect`. */
const ENDED_KEPT_FOR: Millis = 600_000;
const ENDED_KEPT = 20;
/** Revisions without traffic that stay, newest first. */
export const REVISIONS_KEPT = 10;
/** Added to FN_START_TIMEOUT_MS before a candidate is given up: unpacking its image, and the queue. */
export const CANDIDATE_MARGIN: Millis = 20_000;
/** An instance that ended sooner after its start counts as one that could not start. */
const STABLE_AFTER: Millis = 10_000;
const BACKOFF_BASE: Millis = 1000;
const BACKOFF_MAX: Millis = 300_000;

export interface PlanInput {
  /** Undefined when the record is gone and instances are left. */
  readonly fn: FunctionRecord | undefined;
  readonly revisions: readonly RevisionRecord[];
  readonly instances: readonly InstanceRecord[];
  /** Nodes with a lease. */
  readonly nodes: readonly NodeId[];
  readonly lostNodes: ReadonlySet<NodeId>;
  /** The node of each start of a revision that has no record yet. */
  readonly beginnings: (revision: RevisionId) => readonly NodeId[];
  /** From the autoscaler, for all revisions with traffic together. */
  readonly desired: number;
  /** The same for each revision that has only aliases. */
  readonly aliased: ReadonlyMap<RevisionId, number>;
  /** Why the worker refused to start the candidate, when it did. */
  readonly startFailure?: Problem;
  readonly startTimeout: Millis;
  /** Unix ms. */
  readonly now: Millis;
}

export type Action =
  | { readonly type: 'ensure'; readonly node: NodeId; readonly revision: RevisionId; readonly count: number }
  | { readonly type: 'try'; readonly node: NodeId; readonly revision: RevisionId; readonly since: Millis }
  | {
      readonly type: 'stop';
      readonly instance: InstanceId;
      readonly node: NodeId;
      readonly mode: 'if-idle' | 'drain';
      readonly reason: EndReason;
    }
  | { readonly type: 'promote'; readonly revision: RevisionId }
  | { readonly type: 'fail'; readonly revision: RevisionId; readonly problem: Problem; readonly instance?: InstanceId }
  | { readonly type: 'lost'; readonly instance: InstanceId; readonly node: NodeId }
  | { readonly type: 'forget'; readonly instance: InstanceId }
  | { readonly type: 'forget-revision'; readonly revision: RevisionId }
  | { readonly type: 'finish-deletion' };

export function planFunction(input: PlanInput): Action[] {
  const { fn, now } = input;
  const lost = input.instances.filter((one) => !one.end && input.lostNodes.has(one.node));
  const alive = input.instances.filter((one) => !one.end && !input.lostNodes.has(one.node));
  const actions: Action[] = lost.map((one) => ({ type: 'lost', instance: one.id, node: one.node }));

  if (!fn || fn.deletingSince !== undefined) {
    actions.push(...drain(alive, 'removed'));
    if (fn && alive.length === 0 && lost.length === 0) actions.push({ type: 'finish-deletion' });
    if (!fn) actions.push(...forget(input.instances, now));
    return actions;
  }

  const trial = tryCandidate(fn.candidate, alive, input);
  actions.push(...trial);
  const promoted = trial.find((action) => action.type === 'promote');
  const failed = trial.some((action) => action.type === 'fail');
  const traffic = promoted ? [{ revision: promoted.revision, weight: 100 }] : fn.traffic;
  for (const { revision, weight } of traffic) {
    const own = alive.filter((one) => one.revision === revision);
    const share = shareOf(input.desired, weight);
    // The count was decided before the promotion: it may add to the new revision, not take from it.
    actions.push(...scale(revision, promoted ? Math.max(share, own.length) : share, own, input));
  }

  const wanted = new Set(traffic.map(({ revision }) => revision));
  for (const { revision } of aliasShares(fn)) {
    if (wanted.has(revision)) continue;
    wanted.add(revision);
    const own = alive.filter((one) => one.revision === revision);
    // Not known yet: it has just lost its traffic, and keeps what it has until the next look.
    actions.push(...scale(revision, input.aliased.get(revision) ?? own.length, own, input));
  }
  if (fn.candidate && !failed) wanted.add(fn.candidate.revision);
  actions.push(
    ...drain(
      alive.filter((one) => !wanted.has(one.revision)),
      'replaced',
    ),
    ...forget(input.instances, now),
    ...forgetRevisions(fn, input.revisions, wanted, alive),
  );
  return actions;
}

/** One instance of the candidate decides: ready, it gets the traffic; failed, it never does. */
function tryCandidate(
  candidate: FunctionRecord['candidate'],
  alive: readonly InstanceRecord[],
  input: PlanInput,
): Action[] {
  if (!candidate) return [];
  const { revision, since } = candidate;
  const own = alive.filter((one) => one.revision === revision);
  if (own.some((one) => one.state === 'ready')) return [{ type: 'promote', revision }];

  const broken = input.instances.find((one) => one.revision === revision && one.end && isItsFault(one.end.reason));
  if (broken) return [{ type: 'fail', revision, problem: problemOf(broken), instance: broken.id }];
  if (input.startFailure) return [{ type: 'fail', revision, problem: input.startFailure }];
  if (input.now - since > input.startTimeout + CANDIDATE_MARGIN) {
    const error =
      input.nodes.length === 0
        ? new FnError('process.down', 'no worker was there to start the new revision')
        : new FnError('function.start_timeout', `no instance was ready within ${input.startTimeout} ms`);
    return [{ type: 'fail', revision, problem: error.toProblem({ component: 'controller' }) }];
  }
  const node = own.length === 0 ? emptiest(input.nodes, alive) : undefined;
  return node === undefined ? [] : [{ type: 'try', node, revision, since }];
}

function scale(revision: RevisionId, count: number, own: readonly InstanceRecord[], input: PlanInput): Action[] {
  const present = own.filter(isAlive);
  if (present.length < count) {
    const quiet = backoffUntil(revision, input.instances) > input.now;
    const places = [...present.map(({ node }) => node), ...input.beginnings(revision)];
    return quiet ? [] : spread(revision, count - places.length, places, input.nodes);
  }
  // The gateway refuses to give up a busy instance. Another one is offered each second until enough were idle.
  const idle = present.filter((one) => one.state === 'ready').sort((a, b) => a.id.localeCompare(b.id));
  const first = idle.length === 0 ? 0 : Math.floor(input.now / 1000) % idle.length;
  return [...idle.slice(first), ...idle.slice(0, first)]
    .slice(0, present.length - count)
    .map(({ id, node }) => ({ type: 'stop', instance: id, node, mode: 'if-idle', reason: 'scaled-down' }));
}

/** Adds instances one by one on the node that has the fewest of the revision. @param places the node of each that is there. */
function spread(revision: RevisionId, more: number, places: readonly NodeId[], nodes: readonly NodeId[]): Action[] {
  const counts = new Map(nodes.map((node) => [node, places.filter((one) => one === node).length]));
  const grown = new Set<NodeId>();
  for (let added = 0; added < more && counts.size > 0; added++) {
    const [node, count] = [...counts].reduce((best, entry) => (entry[1] < best[1] ? entry : best));
    counts.set(node, count + 1);
    grown.add(node);
  }
  return [...grown].map((node) => ({ type: 'ensure', node, revision, count: counts.get(node) ?? 0 }));
}

/** Unix ms before which no more instances are started: doubles with each one in a row that could not start. Those that failed
 *  side by side are one: a busy machine is too slow for twenty at once. The worker refuses by itself too; this keeps the
 *  queue and the diary quiet. */
export function backoffUntil(revision: RevisionId, instances: readonly InstanceRecord[]): Millis {
  const ended = instances
    .flatMap((one) => (one.revision === revision && one.end ? [{ ...one, end: one.end }] : []))
    .sort((a, b) => b.end.at - a.end.at);
  const ranWell = ended.findIndex(
    ({ end, readyAt }) => !isItsFault(end.reason) || (readyAt !== undefined && end.at - readyAt >= STABLE_AFTER),
  );
  let streak = 0;
  let began = Infinity; // Of the earliest that is counted.
  for (const { createdAt, end } of ranWell === -1 ? ended : ended.slice(0, ranWell)) {
    if (end.at > began) continue;
    streak++;
    began = createdAt;
  }
  const last = ended[0];
  if (streak === 0 || !last) return 0;
  return last.end.at + Math.min(BACKOFF_MAX, BACKOFF_BASE * 2 ** (streak - 1));
}

function drain(instances: readonly InstanceRecord[], reason: EndReason): Action[] {
  return instances
    .filter((one) => one.state !== 'draining')
    .map(({ id, node }) => ({ type: 'stop', instance: id, node, mode: 'drain', reason }));
}

function forget(instances: readonly InstanceRecord[], now: Millis): Action[] {
  const ended = instances
    .flatMap(({ id, end }) => (end ? [{ id, at: end.at }] : []))
    .sort((a, b) => b.at - a.at || a.id.localeCompare(b.id));
  return ended
    .filter(({ at }, index) => index >= ENDED_KEPT || now - at > ENDED_KEPT_FOR)
    .map(({ id }) => ({ type: 'forget', instance: id }));
}

function forgetRevisions(
  fn: FunctionRecord,
  revisions: readonly RevisionRecord[],
  wanted: ReadonlySet<RevisionId>,
  alive: readonly InstanceRecord[],
): Action[] {
  const used = new Set([...wanted, ...alive.map((one) => one.revision), fn.failed?.revision]);
  return revisions
    .filter((one) => !used.has(one.id))
    .sort((a, b) => b.createdAt - a.createdAt)
    .slice(REVISIONS_KEPT)
    .map(({ id }) => ({ type: 'forget-revision', revision: id }));
}

function emptiest(nodes: readonly NodeId[], alive: readonly InstanceRecord[]): NodeId | undefined {
  const load = (node: NodeId): number => alive.filter((one) => one.node === node).length;
  return [...nodes].sort((a, b) => load(a) - load(b) || a.localeCompare(b))[0];
}

/** It serves, or is about to. */
export function isAlive(instance: InstanceRecord): boolean {
  return instance.state === 'starting' || instance.state === 'ready';
}

/** Whether a revision has fewer instances than its traffic calls for. */
export function isShort({ traffic }: FunctionRecord, desired: number, instances: readonly InstanceRecord[]): boolean {
  const count = (id: RevisionId): number => instances.filter((one) => one.revision === id && isAlive(one)).length;
  return traffic.some(({ revision, weight }) => count(revision) < shareOf(desired, weight));
}

function shareOf(desired: number, weight: number): number {
  return Math.ceil((desired * weight) / 100);
}

/** Whether an end says that the code cannot run. What the platform or the host did does not, nor does a slow invocation. */
function isItsFault(reason: EndReason): boolean {
  return ['exit', 'oom', 'load-error', 'start-timeout'].includes(reason);
}

function problemOf(instance: InstanceRecord): Problem {
  if (instance.end?.problem) return instance.end.problem;
  const codes: Partial<Record<EndReason, ErrorCode>> = {
    oom: 'function.oom',
    'load-error': 'function.load_failed',
    'start-timeout': 'function.start_timeout',
  };
  const code = codes[instance.end?.reason ?? 'exit'] ?? 'function.crashed';
  return new FnError(code, `its first instance ended: ${instance.end?.reason}`).toProblem({ component: 'controller' });
}

/** For the diary: what is done and to what. Housekeeping is not told. */
export function describe(action: Action): string | undefined {
  switch (action.type) {
    case 'ensure':
      return `${action.count} of ${action.revision} on ${action.node}`;
    case 'try':
      return `start ${action.revision} on ${action.node}`;
    case 'stop':
      return `stop ${action.instance} (${action.mode}, ${action.reason})`;
    case 'promote':
      return `traffic to ${action.revision}`;
    case 'fail':
      return `give up ${action.revision} (${action.problem.code})`;
    case 'lost':
      return `count ${action.instance} on ${action.node} as lost`;
    case 'finish-deletion':
      return 'remove the function';
    case 'forget':
    case 'forget-revision':
      return undefined;
    default:
      return unreachable(action);
  }
}
