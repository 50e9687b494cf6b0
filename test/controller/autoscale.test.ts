import { describe, expect, it } from 'vitest';
import {
  autoscale,
  type Load,
  PANIC_WINDOW,
  type ScaleDecision,
  type ScaleSpec,
  type ScaleState,
  STABLE_WINDOW,
} from '../../controller/autoscale.ts';
import { LoadWindow } from '../../controller/load-window.ts';

const MINUTE = 60_000;
const NOW = 1_700_000_000_000;

const spec = (scale: Partial<ScaleSpec['scale']> = {}, concurrency = 1): ScaleSpec => ({
  concurrency,
  isolation: 'instance',
  scale: { min: 0, max: 20, target: 0.7, idle: MINUTE, ...scale },
});
const load = (some: Partial<Load> = {}): Load => ({
  reporting: true,
  stable: 0,
  panic: 0,
  peak: 0,
  arrivals: 0,
  backlog: 0,
  idleFor: 0,
  ...some,
});
const state = (ready: number, some: Partial<ScaleState> = {}): ScaleState => ({ ready, alive: ready, ...some });
const decide = (
  some: Partial<Load>,
  ready: number,
  scale: Partial<ScaleSpec['scale']> = {},
  concurrency = 1,
): ScaleDecision => autoscale(spec(scale, concurrency), load(some), state(ready), NOW);

describe('on concurrency', () => {
  it('aims at scale.target of the slots: 7 busy at 0.7 want 10 instances', () => {
    expect(decide({ stable: 7, panic: 7, peak: 7 }, 10)).toMatchObject({ desired: 10, rule: 'concurrency' });
  });

  it('counts all slots of an instance: 70 busy at 10 × 0.7 want 10 instances', () => {
    expect(decide({ stable: 70, panic: 70, peak: 70 }, 10, {}, 10)).toMatchObject({ desired: 10 });
  });

  it('never goes over scale.max, and says what it would have wanted', () => {
    const decision = decide({ stable: 700, panic: 700, peak: 700 }, 1);
    expect(decision).toMatchObject({ desired: 20, rule: 'max' });
    expect(decision.reason).toContain('1000 wanted');
  });

  it('never goes below scale.min', () => {
    expect(decide({ stable: 0.1, peak: 1 }, 3, { min: 3 })).toMatchObject({ desired: 3, rule: 'min' });
  });
});

describe('with isolation: invocation', () => {
  const isolated = (some: Partial<Load>, alive: number, min = 0): ScaleDecision =>
    autoscale({ ...spec({ min }), isolation: 'invocation' }, load(some), state(alive), NOW);

  it('starts none ahead: each invocation has one started for itself', () => {
    expect(isolated({ stable: 7, panic: 14, peak: 20, backlog: 20 }, 5)).toMatchObject({
      desired: 5,
      rule: 'one-each',
    });
    expect(isolated({ peak: 1, idleFor: 100 }, 0)).toMatchObject({ desired: 0, rule: 'one-each' });
  });

  it('keeps scale.min ready, and stops what is left over', () => {
    expect(isolated({ stable: 7, panic: 7, peak: 7 }, 1, 3).desired).toBe(3);
    expect(isolated({ idleFor: MINUTE }, 4)).toMatchObject({ desired: 0, rule: 'scale-to-zero' });
  });
});

describe('in panic', () => {
  const burst = { stable: 1, panic: 14, peak: 14 };

  it('begins when the short window wants twice what is ready', () => {
    expect(decide({ stable: 1, panic: 2.8, peak: 3 }, 2)).toMatchObject({ desired: 4, rule: 'panic' });
    expect(decide({ stable: 1, panic: 2, peak: 2 }, 2).panic).toBeUndefined();
  });

  it('never scales down', () => {
    const { panic } = autoscale(spec(), load(burst), state(2), NOW);
    const calm = autoscale(spec(), load({ stable: 1, panic: 0 }), state(20, { panic: panic as never }), NOW + 10_000);
    expect(calm).toMatchObject({ desired: 20, rule: 'panic' });
  });

  it('ends a stable window after the threshold was last exceeded', () => {
    const { panic } = autoscale(spec(), load(burst), state(2), NOW);
    const held = state(20, { panic: panic as never });
    expect(autoscale(spec(), load({ stable: 1 }), held, NOW + STABLE_WINDOW - 1).rule).toBe('panic');
    const after = autoscale(spec(), load({ stable: 1 }), held, NOW + STABLE_WINDOW);
    expect(after.panic).toBeUndefined();
    expect(after.desired).toBeLessThan(20);
  });

  it('still obeys scale.max', () => {
    expect(autoscale(spec({ max: 5 }), load(burst), state(1), NOW)).toMatchObject({ desired: 5, rule: 'max' });
  });
});

describe('on queues', () => {
  it('wants a slot for each job that waits or runs', () => {
    expect(decide({ backlog: 7 }, 0)).toMatchObject({ desired: 7, rule: 'queue' });
    expect(decide({ backlog: 7 }, 0, {}, 4)).toMatchObject({ desired: 2, rule: 'queue' });
  });

  it('does not scale to zero while jobs are left, however long no request came', () => {
    expect(decide({ backlog: 1, idleFor: 10 * MINUTE }, 1)).toMatchObject({ desired: 1 });
  });
});

describe('scaling down', () => {
  it('keeps as many slots as were busy at once within scale.idle', () => {
    expect(decide({ stable: 0.2, peak: 10 }, 10)).toMatchObject({ desired: 10, rule: 'scale-down-delay' });
  });

  it('does not start anything for a peak that is over', () => {
    expect(decide({ stable: 0.2, peak: 10 }, 3)).toMatchObject({ desired: 3, rule: 'scale-down-delay' });
  });

  it('halves at a time at most', () => {
    expect(decide({ stable: 0.2 }, 20)).toMatchObject({ desired: 10, rule: 'scale-down-rate' });
    expect(decide({ stable: 0.2 }, 3)).toMatchObject({ desired: 1 });
  });

  it('keeps one instance until scale.idle has passed', () => {
    expect(decide({ idleFor: MINUTE - 1 }, 1)).toMatchObject({ desired: 1, rule: 'keep-warm' });
  });

  it('goes to zero after scale.idle without an invocation', () => {
    expect(decide({ idleFor: MINUTE }, 1)).toMatchObject({ desired: 0, rule: 'scale-to-zero' });
    expect(decide({ idleFor: MINUTE }, 20)).toMatchObject({ desired: 0, rule: 'scale-to-zero' });
  });

  it('goes to scale.min instead where there is one', () => {
    expect(decide({ idleFor: MINUTE }, 5, { min: 2 })).toMatchObject({ desired: 2, rule: 'idle' });
  });

  it('stays at zero for a function that was never called', () => {
    expect(decide({ idleFor: Infinity }, 0)).toMatchObject({ desired: 0, rule: 'scale-to-zero' });
  });
});

describe('without reports', () => {
  it('leaves the count as it is: knowing nothing is not the same as no load', () => {
    expect(decide({ reporting: false, idleFor: Infinity }, 5)).toMatchObject({ desired: 5, rule: 'no-reports' });
    expect(decide({ reporting: false }, 0, { min: 1 })).toMatchObject({ desired: 1, rule: 'min' });
  });
});

it('writes down its inputs, without infinities', () => {
  const { inputs } = decide({ stable: 1.23456, idleFor: Infinity }, 1);
  expect(inputs).toMatchObject({ stable: 1.23, ready: 1, reporting: true });
  expect(inputs).not.toHaveProperty('idleMs');
});

describe('five minutes of a function', () => {
  it('grows with a burst, holds it, halves, keeps one, and stops', () => {
    const window = new LoadWindow();
    const counts: number[] = [];
    let ready = 0;
    let panic: ScaleDecision['panic'];
    let lastLoad = NOW;
    for (let second = 0; second < 300; second++) {
      const now = NOW + second * 1000;
      const busy = second < 10 ? 7 : second < 90 && second % 10 === 0 ? 0.01 : 0;
      if (busy > 0) lastLoad = now;
      window.add(now, { average: busy, peak: Math.ceil(busy), arrivals: busy > 0 ? 1 : 0 });
      const measured = { ...window.read(now, MINUTE), reporting: true, backlog: 0, idleFor: now - lastLoad };
      const decision = autoscale(spec(), measured, { ready, alive: ready, ...(panic && { panic }) }, now);
      panic = decision.panic;
      ready = decision.desired;
      counts.push(ready);
    }
    expect(counts[0]).toBe(10);
    expect(counts[59]).toBe(10);
    expect(Math.min(...counts.slice(0, 60))).toBe(10);
    expect(counts[100]).toBe(1);
    expect(counts[139]).toBe(1);
    expect(counts[150]).toBe(0);
    expect(counts.at(-1)).toBe(0);
  });
});

describe('LoadWindow', () => {
  it('averages over the windows and forgets what is older', () => {
    const window = new LoadWindow();
    for (let second = 0; second < 60; second++) {
      window.add(NOW + second * 1000, { average: second < 54 ? 0 : 10, peak: second, arrivals: 1 });
    }
    const end = NOW + 59_000;
    expect(window.read(end, STABLE_WINDOW)).toEqual({ stable: 1, panic: 10, peak: 59, arrivals: 1 });
    expect(window.read(end + STABLE_WINDOW, STABLE_WINDOW)).toEqual({ stable: 0, panic: 0, peak: 0, arrivals: 0 });
    expect(window.read(end + PANIC_WINDOW, 1000)).toMatchObject({ panic: 0, peak: 0 });
  });

  it('does not count seconds in which nothing was recorded', () => {
    const window = new LoadWindow();
    window.add(NOW, { average: 4, peak: 4, arrivals: 2 });
    window.add(NOW + 30_000, { average: 6, peak: 6, arrivals: 4 });
    expect(window.read(NOW + 30_000, STABLE_WINDOW)).toMatchObject({ stable: 5, arrivals: 3 });
  });

  it('takes samples of one second together', () => {
    const window = new LoadWindow();
    window.add(NOW, { average: 4, peak: 4, arrivals: 2 });
    window.add(NOW + 10, { average: 2, peak: 6, arrivals: 1 });
    expect(window.read(NOW, 1000)).toEqual({ stable: 4, panic: 4, peak: 6, arrivals: 3 });
  });
});
