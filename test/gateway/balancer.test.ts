import { describe, expect, it } from 'vitest';
import { leastLoaded, nextWeighted, startsNeeded } from '../../gateway/balancer.ts';

describe('leastLoaded', () => {
  const at = (...loads: number[]) => loads.map((inFlight, id) => ({ id, inFlight, concurrency: 3, isOpen: true }));

  it('takes the one with the fewest invocations', () => {
    expect(leastLoaded(at(2, 1, 2))?.id).toBe(1);
  });

  it('keeps to the order among equals, so that the last stay idle', () => {
    expect(leastLoaded(at(0, 0, 0))?.id).toBe(0);
    expect(leastLoaded(at(1, 1, 1))?.id).toBe(0);
  });

  it('takes none that is full', () => {
    expect(leastLoaded(at(3, 3))).toBeUndefined();
    expect(leastLoaded(at(3, 2))?.id).toBe(1);
  });
});

describe('startsNeeded', () => {
  const demand = { inFlight: 0, waiting: 0, concurrency: 1, instances: 0, starting: 0, max: 20 };

  it('gives everyone who waits a slot', () => {
    expect(startsNeeded({ ...demand, waiting: 3 })).toBe(3);
    expect(startsNeeded({ ...demand, waiting: 3, concurrency: 2 })).toBe(2);
  });

  it('counts what is busy, what is there and what is on its way', () => {
    expect(startsNeeded({ ...demand, inFlight: 2, instances: 2, waiting: 3, starting: 1 })).toBe(2);
  });

  it('never passes scale.max', () => {
    expect(startsNeeded({ ...demand, waiting: 100, max: 5, instances: 2, starting: 1 })).toBe(2);
    expect(startsNeeded({ ...demand, waiting: 100, max: 2, instances: 3 })).toBe(0);
  });

  it('is nothing when nobody waits', () => {
    expect(startsNeeded({ ...demand, inFlight: 5 })).toBe(0);
  });
});

describe('nextWeighted', () => {
  it('gives each its share, interleaved', () => {
    const targets = [
      { id: 'a', weight: 5, current: 0 },
      { id: 'b', weight: 1, current: 0 },
      { id: 'c', weight: 1, current: 0 },
    ];
    const turns = Array.from({ length: 7 }, () => nextWeighted(targets)?.id).join('');
    expect(turns).toBe('aabacaa');
  });

  it('skips those without weight, and none is left when all are', () => {
    expect(nextWeighted([{ weight: 0, current: 0 }])).toBeUndefined();
    expect(nextWeighted([])).toBeUndefined();
  });
});
