import { expect, test } from 'vitest';
import { ClaimCount, type ClassDemand, keyOf, poolTargets } from '../../worker/pool-policy.ts';

const MIB = 2 ** 20;
const small = { rootfs: '/base', memory: 128 * MIB, egress: 'none' } as const;
const large = { rootfs: '/base', memory: 512 * MIB, egress: 'none' } as const;
const limits = { minimum: 4, ceiling: 1024 * MIB };

function targets(
  demands: readonly ClassDemand[],
  peaks: readonly [ClassDemand['class'], number][] = [],
  with_ = limits,
) {
  const found = poolTargets(demands, new Map(peaks.map(([one, count]) => [keyOf(one), count])), with_);
  return [small, large].map((one) => found.get(keyOf(one)));
}

test('nothing deployed, nothing kept', () => {
  expect(poolTargets([], new Map(), limits).size).toBe(0);
});

test('a class that is quiet keeps the minimum, or as many as its functions could ever use', () => {
  expect(targets([{ class: small, max: 20 }])).toEqual([4, undefined]);
  expect(targets([{ class: small, max: 1 }])).toEqual([1, undefined]);
});

test('functions of one class share it; another memory size is another class', () => {
  const demands = [
    { class: small, max: 2 },
    { class: { ...small }, max: 1 },
    { class: large, max: 1 },
  ];
  expect(targets(demands)).toEqual([3, 1]);
});

test('a class keeps what its busiest moment took, and never more than its functions could use', () => {
  const demands = [
    { class: small, max: 30 },
    { class: large, max: 30 },
  ];
  expect(targets(demands, [[small, 25]])).toEqual([25, 4]);
  expect(targets(demands, [[small, 1000]])).toEqual([30, 4]);
  expect(targets(demands, [[small, 2]])).toEqual([4, 4]);
});

test('all classes together stay within the memory ceiling; a busy one does not take the minimum of the others', () => {
  const demands = [
    { class: small, max: 100 },
    { class: large, max: 20 },
  ];
  const ceiling = 480 * MIB; // Of 30 sandboxes.
  expect(targets(demands, [[small, 100]], { minimum: 4, ceiling })).toEqual([26, 4]);
  expect(targets(demands, [], { minimum: 20, ceiling })).toEqual([20, 10]);
  expect(targets(demands, [], { minimum: 20, ceiling: 0 })).toEqual([0, 0]);
});

test('a minimum of 0 turns the pool off, however many are claimed', () => {
  expect(targets([{ class: small, max: 20 }], [[small, 20]], { minimum: 0, ceiling: 1024 * MIB })).toEqual([
    0,
    undefined,
  ]);
});

test('the peak is the most claims within two seconds, for five minutes', () => {
  const count = new ClaimCount();
  expect(count.peak(0)).toBe(0);
  for (let n = 0; n < 50; n++) count.add(1000);
  for (let second = 10; second < 100; second++) count.add(second * 1000);
  expect(count.peak(100_000)).toBe(50);
  expect(count.peak(299_000)).toBe(50);
  expect(count.peak(301_000)).toBe(2);
  expect(count.peak(1_000_000)).toBe(0);
});
