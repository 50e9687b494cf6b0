import { expect, test } from 'vitest';
import type { RevisionId } from '../../core/ids.ts';
import { Beginnings } from '../../worker/instances/beginnings.ts';

const A = 'a-00001' as RevisionId;
const B = 'b-00001' as RevisionId;

test('a start counts from its beginning to its end, and ends once', () => {
  const beginnings = new Beginnings();
  const first = beginnings.add(A);
  const second = beginnings.add(A);
  const other = beginnings.add(B);
  expect([beginnings.of(A), beginnings.of(B), beginnings.total]).toEqual([2, 1, 3]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  expect([beginnings.of(A), beginnings.of(B), beginnings.total]).toEqual([1, 1, 2]);
  second[Symbol.dispose]();
  other[Symbol.dispose]();
  expect([beginnings.of(A), beginnings.of(B), beginnings.total]).toEqual([0, 0, 0]);
});
