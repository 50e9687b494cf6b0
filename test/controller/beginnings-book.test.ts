import { expect, test } from 'vitest';
import { BeginningsBook } from '../../controller/beginnings-book.ts';
import type { FunctionName, InstanceId, NodeId, RevisionId } from '../../core/ids.ts';
import type { BeginningsReport, InstanceRecord } from '../../core/records.ts';

const [N1, N2] = ['n1', 'n2'] as NodeId[] as [NodeId, NodeId];
const A = 'a-00001' as RevisionId;
const B = 'b-00001' as RevisionId;

const reports = (all: Readonly<Record<string, BeginningsReport>>): ReadonlyMap<NodeId, BeginningsReport> =>
  new Map(Object.entries(all) as [NodeId, BeginningsReport][]);
const instance = (some: Partial<InstanceRecord>): InstanceRecord => ({
  id: 'a-1' as InstanceId,
  function: 'a' as FunctionName,
  revision: A,
  node: N1,
  state: 'starting',
  createdAt: 0,
  ...some,
});

test('each start is told with its node', () => {
  const book = new BeginningsBook();
  book.record(reports({ n1: { at: 100, revisions: { [A]: 2, [B]: 1 } }, n2: { at: 90, revisions: { [A]: 1 } } }), 0);
  expect(book.of(A, [], 0)).toEqual([N1, N1, N2]);
  expect(book.of(B, [], 0)).toEqual([N1]);
});

test('a start that has got its record since is not counted twice', () => {
  const book = new BeginningsBook();
  book.record(reports({ n1: { at: 100, revisions: { [A]: 2 } } }), 0);
  expect(book.of(A, [instance({ createdAt: 99 })], 0)).toEqual([N1, N1]);
  expect(book.of(A, [instance({ createdAt: 100 })], 0)).toEqual([N1]);
  expect(book.of(A, [instance({ createdAt: 100, node: N2 })], 0)).toEqual([N1, N1]);
  expect(
    book.of(
      A,
      [1, 2, 3].map(() => instance({ createdAt: 101 })),
      0,
    ),
  ).toEqual([]);
});

test('a worker that fell silent has no starts under way, whatever its clock says', () => {
  const book = new BeginningsBook();
  const same = reports({ n1: { at: 5, revisions: { [A]: 1 } } });
  for (const now of [0, 1000, 2000]) {
    book.record(same, now);
    expect(book.of(A, [], now)).toEqual([N1]);
  }
  book.record(same, 3000);
  expect(book.of(A, [], 3000)).toEqual([]);
  book.record(reports({ n1: { at: 6, revisions: { [A]: 1 } } }), 4000);
  expect(book.of(A, [], 4000)).toEqual([N1]);
  book.record(reports({}), 5000);
  expect(book.of(A, [], 5000)).toEqual([]);
});
