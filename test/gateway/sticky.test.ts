import { describe, expect, it } from 'vitest';
import { keyOf, parseSticky, stickTo } from '../../gateway/sticky.ts';

const FIELDS = 'X-User: ada\r\nAccept: */*\r\nCookie: a=1; session=s1 ;b=2\r\nCookie: late=3\r\n';

const targets = (weights: Record<string, number>) =>
  Object.entries(weights).map(([id, weight]) => ({ weight, revision: { id } }));
const KEYS = Array.from({ length: 10_000 }, (_, n) => `user-${n}`);
const choices = (weights: Record<string, number>): (string | undefined)[] =>
  KEYS.map((key) => stickTo(targets(weights), key)?.revision.id);
const share = (chosen: readonly unknown[], id: string): number =>
  chosen.filter((one) => one === id).length / chosen.length;

describe('the sticky key', () => {
  it('is the value of a header, whatever its case', () => {
    expect(keyOf(FIELDS, parseSticky('header:x-USER'))).toBe('ada');
    expect(keyOf(FIELDS, parseSticky('header:x-none'))).toBeUndefined();
  });

  it('is the value of a cookie', () => {
    expect(keyOf(FIELDS, parseSticky('cookie:session'))).toBe('s1');
    expect(keyOf(FIELDS, parseSticky('cookie:late'))).toBe('3');
    expect(keyOf(FIELDS, parseSticky('cookie:Session'))).toBeUndefined();
    expect(keyOf('Cookie: session=\r\n', parseSticky('cookie:session'))).toBeUndefined();
  });
});

describe('keys', () => {
  it('are divided by weight', () => {
    const chosen = choices({ a: 90, b: 10 });
    expect(share(chosen, 'b')).toBeGreaterThan(0.08);
    expect(share(chosen, 'b')).toBeLessThan(0.12);
  });

  it('stay where they are while weights do', () => {
    expect(choices({ b: 10, a: 90 })).toEqual(choices({ a: 90, b: 10 }));
  });

  it('move only towards the revision that gained, and no more than it gained', () => {
    const before = choices({ a: 90, b: 10 });
    const after = choices({ a: 70, b: 30 });
    const moved = before.flatMap((from, at) => (from === after[at] ? [] : [`${from} to ${after[at]}`]));
    expect(new Set(moved)).toEqual(new Set(['a to b']));
    expect(moved.length / KEYS.length).toBeCloseTo(0.2, 1);
  });

  it('never go to a revision without a weight', () => {
    expect(share(choices({ a: 0, b: 100 }), 'b')).toBe(1);
    expect(stickTo(targets({ a: 0 }), 'x')).toBeUndefined();
  });
});
