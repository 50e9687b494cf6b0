import { expect, test } from 'vitest';
import { poolTargets } from '../../worker/pool.ts';

const MIB = 2 ** 20;
const small = { rootfs: '/base', memory: 128 * MIB, egress: 'none' } as const;
const large = { rootfs: '/base', memory: 512 * MIB, egress: 'none' } as const;
const ceiling = 1024 * MIB;

test('nothing deployed, nothing kept', () => {
  expect(poolTargets([], 4, ceiling).size).toBe(0);
});

test('a class keeps as many as its functions could ever use, and no more than the size', () => {
  expect([...poolTargets([{ class: small, max: 1 }], 4, ceiling).values()]).toEqual([1]);
  expect([...poolTargets([{ class: small, max: 20 }], 4, ceiling).values()]).toEqual([4]);
});

test('functions of one class share it; another memory size is another class', () => {
  const demands = [
    { class: small, max: 2 },
    { class: { ...small }, max: 1 },
    { class: large, max: 1 },
  ];
  expect([...poolTargets(demands, 4, ceiling).values()]).toEqual([3, 1]);
});

test('all classes together stay within the memory ceiling', () => {
  const demands = [
    { class: small, max: 20 },
    { class: large, max: 20 },
  ];
  const targets = [...poolTargets(demands, 100, 480 * MIB).values()];
  expect(targets).toEqual([20, 10]);
});

test('size 0 turns the pool off', () => {
  expect([...poolTargets([{ class: small, max: 20 }], 0, ceiling).values()]).toEqual([0]);
});
