import { expect, test } from 'vitest';
import { backoff, sleep, VirtualClock } from '../../core/clock.ts';

test('a virtual clock runs what is due, in order of time, at its time', () => {
  const clock = new VirtualClock(1000);
  const seen: [string, number][] = [];
  clock.after(30, () => seen.push(['late', clock.now()]));
  clock.after(10, () => {
    seen.push(['early', clock.now()]);
    clock.after(10, () => seen.push(['from within', clock.now()]));
  });
  clock.after(100, () => seen.push(['not yet', clock.now()]));
  clock.advance(50);
  expect(seen).toEqual([
    ['early', 1010],
    ['from within', 1020],
    ['late', 1030],
  ]);
  expect(clock.now()).toBe(1050);
});

test('a timer that was disposed of does not run', () => {
  const clock = new VirtualClock();
  let runs = 0;
  clock.after(10, () => runs++)[Symbol.dispose]();
  clock.advance(20);
  expect(runs).toBe(0);
});

test('sleep ends early when its signal aborts', async () => {
  const controller = new AbortController();
  const asleep = sleep(60_000, controller.signal);
  controller.abort(new Error('enough'));
  await expect(asleep).rejects.toThrow('enough');
  await expect(sleep(60_000, controller.signal)).rejects.toThrow('enough');
});

test('back-off doubles, stays within half and all of it, and never passes its maximum', () => {
  expect(backoff(0, 100, 5000, () => 0)).toBe(50);
  expect(backoff(0, 100, 5000, () => 1)).toBe(100);
  expect(backoff(3, 100, 5000, () => 1)).toBe(800);
  expect(backoff(50, 100, 5000, () => 1)).toBe(5000);
  expect(backoff(5000, 100, 5000, () => 0)).toBe(2500);
});
