import { describe, expect, it } from 'vitest';
import { LeaseWatch } from '../../controller/lease-watch.ts';
import {
  type Action,
  backoffUntil,
  CANDIDATE_MARGIN,
  isShort,
  type PlanInput,
  planFunction,
} from '../../controller/plan.ts';
import { FnError } from '../../core/errors.ts';
import type { FunctionName, InstanceId, NodeId, RevisionId } from '../../core/ids.ts';
import type { FunctionRecord, InstanceRecord, NodeRecord, RevisionRecord } from '../../core/records.ts';

const NOW = 1_700_000_000_000;
const OLD = 'hello-00001' as RevisionId;
const NEW = 'hello-00002' as RevisionId;
const N1 = 'n1' as NodeId;
const N2 = 'n2' as NodeId;
const START_TIMEOUT = 10_000;

const fn = (some: Partial<FunctionRecord> = {}): FunctionRecord => ({
  name: 'hello' as FunctionName,
  traffic: [{ revision: OLD, weight: 100 }],
  latest: 1,
  createdAt: 0,
  updatedAt: 0,
  ...some,
});
const instance = (id: string, some: Partial<InstanceRecord> = {}): InstanceRecord => ({
  id: `hello-${id}` as InstanceId,
  function: 'hello' as FunctionName,
  revision: OLD,
  node: N1,
  state: 'ready',
  createdAt: NOW - 60_000,
  readyAt: NOW - 60_000,
  ...some,
});
const ended = (
  id: string,
  reason: NonNullable<InstanceRecord['end']>['reason'],
  some: Partial<InstanceRecord> = {},
) => {
  const { readyAt: _, ...base } = instance(id);
  return { ...base, state: 'failed', end: { at: NOW - 1000, reason }, ...some } as InstanceRecord;
};
const plan = (some: Partial<PlanInput>): Action[] =>
  planFunction({
    fn: fn(),
    revisions: [],
    instances: [],
    aliased: new Map(),
    nodes: [N1],
    lostNodes: new Set(),
    beginnings: () => [],
    desired: 0,
    startTimeout: START_TIMEOUT,
    now: NOW,
    ...some,
  });

describe('a revision is short of instances', () => {
  const half = fn({ traffic: [OLD, NEW].map((revision) => ({ revision, weight: 50 })) });

  it('when fewer serve or start than its share of the count', () => {
    expect(isShort(fn(), 2, [instance('a'), instance('b', { state: 'starting' })])).toBe(false);
    expect(isShort(fn(), 2, [instance('a'), instance('b', { state: 'draining' })])).toBe(true);
    expect(isShort(fn(), 1, [ended('a', 'exit')])).toBe(true);
    expect(isShort(fn(), 0, [ended('a', 'exit')])).toBe(false);
  });

  it('however many another one has', () => {
    expect(isShort(half, 2, [instance('a'), instance('b')])).toBe(true);
    expect(isShort(half, 2, [instance('a'), instance('b', { revision: NEW })])).toBe(false);
  });
});

describe('the count', () => {
  it('does nothing when all is as wanted', () => {
    expect(plan({ desired: 2, instances: [instance('a'), instance('b')] })).toEqual([]);
  });

  it('counts starting instances, so that none is asked for twice', () => {
    expect(plan({ desired: 1, instances: [instance('a', { state: 'starting' })] })).toEqual([]);
  });

  it('asks for the whole count of the revision', () => {
    expect(plan({ desired: 3, instances: [instance('a')] })).toEqual([
      { type: 'ensure', node: N1, revision: OLD, count: 3 },
    ]);
  });

  it('replaces an instance that was killed', () => {
    expect(plan({ desired: 1, instances: [ended('a', 'signal')] })).toEqual([
      { type: 'ensure', node: N1, revision: OLD, count: 1 },
    ]);
  });

  it('counts starts that have no record yet, where they are', () => {
    const beginnings = (revision: RevisionId): NodeId[] => (revision === OLD ? [N1, N1] : []);
    expect(plan({ desired: 2, beginnings })).toEqual([]);
    expect(plan({ desired: 3, nodes: [N1, N2], beginnings })).toEqual([
      { type: 'ensure', node: N2, revision: OLD, count: 1 },
    ]);
    expect(plan({ desired: 3, beginnings })).toEqual([{ type: 'ensure', node: N1, revision: OLD, count: 3 }]);
    expect(plan({ desired: 0, beginnings })).toEqual([]);
  });

  it('spreads over the nodes', () => {
    expect(plan({ desired: 4, nodes: [N1, N2], instances: [instance('a'), instance('b')] })).toEqual([
      { type: 'ensure', node: N2, revision: OLD, count: 2 },
    ]);
  });

  it('can do nothing without a node', () => {
    expect(plan({ desired: 4, nodes: [] })).toEqual([]);
  });

  it('takes idle instances only, and offers others the next second', () => {
    const instances = [instance('a'), instance('b'), instance('c')];
    const stopped = (now: number): unknown =>
      plan({ desired: 1, instances, now }).map((action) => action.type === 'stop' && action.instance);
    const first = plan({ desired: 1, instances });
    expect(first).toHaveLength(2);
    expect(first[0]).toMatchObject({ type: 'stop', mode: 'if-idle', reason: 'scaled-down' });
    expect(new Set([stopped(NOW), stopped(NOW + 1000), stopped(NOW + 2000)].flat()).size).toBe(3);
  });

  it('leaves draining instances to their end', () => {
    expect(plan({ desired: 0, instances: [instance('a', { state: 'draining' })] })).toEqual([]);
  });

  it('splits by weight between two revisions', () => {
    const traffic = [
      { revision: OLD, weight: 75 },
      { revision: NEW, weight: 25 },
    ];
    expect(plan({ fn: fn({ traffic }), desired: 4 })).toEqual([
      { type: 'ensure', node: N1, revision: OLD, count: 3 },
      { type: 'ensure', node: N1, revision: NEW, count: 1 },
    ]);
  });
});

describe('a candidate', () => {
  const since = NOW - 1000;
  const deploying = fn({ candidate: { revision: NEW, since }, latest: 2 });
  const running = instance('a');

  it('gets one instance on trial', () => {
    expect(plan({ fn: deploying, desired: 1, instances: [running] })).toEqual([
      { type: 'try', node: N1, revision: NEW, since },
    ]);
  });

  it('is waited for while its instance starts', () => {
    const starting = instance('b', { revision: NEW, state: 'starting' });
    expect(plan({ fn: deploying, desired: 1, instances: [running, starting] })).toEqual([]);
  });

  it('gets the traffic once it is ready, with as many instances as the old one needed, and the old ones drain', () => {
    const ready = instance('b', { revision: NEW });
    expect(plan({ fn: deploying, desired: 3, instances: [running, ready] })).toEqual([
      { type: 'promote', revision: NEW },
      { type: 'ensure', node: N1, revision: NEW, count: 3 },
      { type: 'stop', instance: running.id, node: N1, mode: 'drain', reason: 'replaced' },
    ]);
  });

  it('keeps its first instance when it is the first revision and nothing is known of its load', () => {
    const first = fn({ traffic: [], candidate: { revision: NEW, since } });
    expect(plan({ fn: first, desired: 0, instances: [instance('b', { revision: NEW })] })).toEqual([
      { type: 'promote', revision: NEW },
    ]);
  });

  it.each([
    ['load-error', 'function.load_failed'],
    ['start-timeout', 'function.start_timeout'],
    ['oom', 'function.oom'],
    ['exit', 'function.crashed'],
  ] as const)('is given up when its instance ends by %s', (reason, code) => {
    const broken = ended('b', reason, { revision: NEW });
    const actions = plan({ fn: deploying, desired: 1, instances: [running, broken] });
    expect(actions).toMatchObject([{ type: 'fail', revision: NEW, problem: { code }, instance: broken.id }]);
  });

  it("is given up with the worker's own words where there are any", () => {
    const problem = new FnError('handler.missing', 'no export "handler"').toProblem();
    const end = { at: NOW, reason: 'load-error', problem } as const;
    const actions = plan({ fn: deploying, instances: [ended('b', 'load-error', { revision: NEW, end })] });
    expect(actions).toMatchObject([{ type: 'fail', problem: { code: 'handler.missing' } }]);
    expect(plan({ fn: deploying, startFailure: problem })).toMatchObject([{ type: 'fail', problem }]);
  });

  it.each(['lost', 'signal', 'shutdown'] as const)('gets another try when its instance ended by %s', (reason) => {
    expect(plan({ fn: deploying, instances: [ended('b', reason, { revision: NEW })] })).toMatchObject([
      { type: 'try', revision: NEW },
    ]);
  });

  it('is given up after its time, and what was started of it goes', () => {
    const late = fn({ candidate: { revision: NEW, since: NOW - START_TIMEOUT - CANDIDATE_MARGIN - 1 } });
    const starting = instance('b', { revision: NEW, state: 'starting' });
    expect(plan({ fn: late, desired: 1, instances: [running, starting] })).toMatchObject([
      { type: 'fail', problem: { code: 'function.start_timeout' } },
      { type: 'stop', instance: starting.id, mode: 'drain', reason: 'replaced' },
    ]);
    expect(plan({ fn: late, nodes: [] })).toMatchObject([{ type: 'fail', problem: { code: 'process.down' } }]);
  });
});

describe('back-off', () => {
  it('doubles with each start that failed in a row, from a second to five minutes', () => {
    const failures = (count: number): InstanceRecord[] =>
      Array.from({ length: count }, (_, ago) =>
        ended(String(ago), 'load-error', {
          createdAt: NOW - ago * 1000 - 500,
          end: { at: NOW - ago * 1000, reason: 'load-error' },
        }),
      );
    const wait = (count: number): number => backoffUntil(OLD, failures(count)) - NOW;
    expect([wait(1), wait(2), wait(5), wait(20)]).toEqual([1000, 2000, 16_000, 300_000]);
  });

  it('counts those that failed side by side once', () => {
    const batch = (name: string, began: number): InstanceRecord[] =>
      Array.from({ length: 19 }, (_, index) =>
        ended(`${name}${index}`, 'start-timeout', {
          createdAt: began + index,
          end: { at: began + 10_000 + index, reason: 'start-timeout' },
        }),
      );
    const first = batch('first', NOW - 30_000);
    expect(backoffUntil(OLD, first)).toBe(NOW - 30_000 + 10_018 + 1000);
    expect(backoffUntil(OLD, [...first, ...batch('second', NOW - 15_000)])).toBe(NOW - 15_000 + 10_018 + 2000);
  });

  it('keeps the planner quiet until it is over', () => {
    const instances = [ended('a', 'load-error', { end: { at: NOW - 500, reason: 'load-error' } })];
    expect(plan({ desired: 1, instances })).toEqual([]);
    expect(plan({ desired: 1, instances, now: NOW + 500 })).toHaveLength(1);
  });

  it('is not earned by an instance that ran well, was stopped, or was killed from outside', () => {
    const ranWell = ended('a', 'exit', { readyAt: NOW - 60_000 });
    expect(backoffUntil(OLD, [ranWell])).toBe(0);
    expect(backoffUntil(OLD, [ended('a', 'scaled-down')])).toBe(0);
    expect(backoffUntil(OLD, [ended('a', 'signal')])).toBe(0);
    expect(backoffUntil(OLD, [])).toBe(0);
  });
});

describe('removal', () => {
  const leaving = fn({ deletingSince: NOW - 1000 });

  it('drains every instance first', () => {
    const instances = [instance('a'), instance('b', { state: 'starting' }), instance('c', { state: 'draining' })];
    expect(plan({ fn: leaving, desired: 5, instances })).toMatchObject([
      { type: 'stop', instance: 'hello-a', mode: 'drain', reason: 'removed' },
      { type: 'stop', instance: 'hello-b', mode: 'drain', reason: 'removed' },
    ]);
  });

  it('removes the rest once none is left', () => {
    expect(plan({ fn: leaving, instances: [ended('a', 'removed')] })).toEqual([{ type: 'finish-deletion' }]);
  });

  it('stops instances that no function owns, and forgets their records in time', () => {
    const old = ended('b', 'exit', { end: { at: NOW - 700_000, reason: 'exit' } });
    expect(plan({ fn: undefined, instances: [instance('a'), old] })).toMatchObject([
      { type: 'stop', instance: 'hello-a', mode: 'drain' },
      { type: 'forget', instance: 'hello-b' },
    ]);
  });
});

describe('a lost node', () => {
  it('has its instances marked lost and replaced on another one', () => {
    const actions = plan({
      desired: 1,
      nodes: [N2],
      lostNodes: new Set([N1]),
      instances: [instance('a'), ended('b', 'exit', { readyAt: 0 })],
    });
    expect(actions).toEqual([
      { type: 'lost', instance: 'hello-a', node: N1 },
      { type: 'ensure', node: N2, revision: OLD, count: 1 },
    ]);
  });

  it('does not hold up a removal', () => {
    const leaving = fn({ deletingSince: NOW });
    expect(plan({ fn: leaving, lostNodes: new Set([N1]), instances: [instance('a')] })).toEqual([
      { type: 'lost', instance: 'hello-a', node: N1 },
    ]);
  });
});

describe('LeaseWatch', () => {
  const node = (expiresAt: number): NodeRecord => ({
    id: N1,
    driver: 'crun',
    cgroup: 'v2',
    cpus: 1,
    memory: 1,
    startedAt: 0,
    expiresAt,
  });

  it('counts a node as lost after fifteen seconds of a record that ran out and stays as it is', () => {
    const watch = new LeaseWatch();
    for (let at = 0; at < 15_000; at += 1000) {
      watch.observe([node(NOW)], [N1], at);
      expect(watch.lost(NOW + at, at).size).toBe(0);
    }
    expect(watch.lost(NOW + 15_000, 15_000)).toEqual(new Set([N1]));
  });

  it('is not fooled by a clock that jumps', () => {
    const watch = new LeaseWatch();
    watch.observe([node(NOW)], [N1], 0);
    expect(watch.lost(NOW + 3_600_000, 1000).size).toBe(0);
    watch.observe([node(NOW + 5000)], [N1], 5000);
    expect(watch.lost(NOW + 3_600_000, 16_000).size).toBe(0);
  });

  it('starts to wait anew when the store could not be read', () => {
    const watch = new LeaseWatch();
    watch.observe([node(NOW)], [N1], 0);
    watch.interrupted();
    watch.observe([node(NOW)], [N1], 20_000);
    expect(watch.lost(NOW + 30_000, 30_000).size).toBe(0);
    expect(watch.lost(NOW + 35_000, 35_000).size).toBe(1);
  });

  it('knows nodes that only instances remember', () => {
    const watch = new LeaseWatch();
    watch.observe([], [N2], 0);
    watch.observe([], [N2], 15_000);
    expect(watch.lost(NOW, 15_000)).toEqual(new Set([N2]));
  });
});

describe('housekeeping', () => {
  it('keeps ended instances for ten minutes, and twenty of them at most', () => {
    const old = ended('old', 'exit', { end: { at: NOW - 600_001, reason: 'exit' } });
    expect(plan({ instances: [old, ended('new', 'signal')] })).toEqual([{ type: 'forget', instance: 'hello-old' }]);
    const many = Array.from({ length: 25 }, (_, index) =>
      ended(String(index).padStart(2, '0'), 'signal', { end: { at: NOW - index, reason: 'signal' } }),
    );
    expect(plan({ instances: many }).map((action) => action.type === 'forget' && action.instance)).toEqual(
      ['20', '21', '22', '23', '24'].map((id) => `hello-${id}`),
    );
  });

  it('keeps ten revisions that have no traffic, and every one that is in use', () => {
    const revisions = Array.from({ length: 15 }, (_, index) => ({
      id: `hello-${String(index + 1).padStart(5, '0')}`,
      createdAt: index,
    })) as unknown as RevisionRecord[];
    const instances = [instance('a', { revision: NEW, state: 'draining' })];
    const gone = plan({ revisions, instances }).flatMap((action) =>
      action.type === 'forget-revision' ? action.revision : [],
    );
    // 15 revisions: one has traffic, one has an instance, ten stay.
    expect(gone).toEqual(['hello-00005', 'hello-00004', 'hello-00003']);
  });
});
