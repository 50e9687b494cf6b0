import { expect, it } from 'vitest';
import { LoadBook } from '../../controller/load-book.ts';
import { type FunctionName, revisionId } from '../../core/ids.ts';
import type { LoadReport } from '../../core/records.ts';

const HELLO = 'hello' as FunctionName;
const FIRST = revisionId(HELLO, 1);
const SECOND = revisionId(HELLO, 2);
const MINUTE = 60_000;

function report(gateway: string, at: number, some: Partial<LoadReport['revisions'][string]> = {}): LoadReport {
  return { gateway, at, revisions: { [FIRST]: { inFlight: 0, waiting: 0, peak: 0, arrivals: 0, idleMs: 0, ...some } } };
}

it('adds up what several gateways report', () => {
  const book = new LoadBook();
  const active = book.record(
    [
      report('a', 1, { inFlight: 2, waiting: 1, peak: 4, arrivals: 5 }),
      report('b', 1, { inFlight: 1, peak: 1, arrivals: 1 }),
    ],
    1000,
  );
  expect([...active]).toEqual([HELLO]);
  expect(book.read([FIRST], 1000, MINUTE, Infinity)).toMatchObject({ stable: 4, peak: 5, arrivals: 6, idleFor: 0 });
});

it('prefers the average a gateway measured over what it saw at one moment', () => {
  const book = new LoadBook();
  book.record([report('a', 1, { inFlight: 0, average: 0.8, peak: 1, arrivals: 100 })], 1000);
  expect(book.read([FIRST], 1000, MINUTE, Infinity)).toMatchObject({ stable: 0.8 });
});

it('takes each report once', () => {
  const book = new LoadBook();
  const one = report('a', 1, { inFlight: 1, peak: 1, arrivals: 5 });
  book.record([one], 1000);
  expect(book.record([one], 2000).size).toBe(0);
  expect(book.read([FIRST], 2000, MINUTE, Infinity)).toMatchObject({ arrivals: 2.5 });
});

it('knows nothing once every gateway has been silent for five seconds', () => {
  const book = new LoadBook();
  expect(book.read([FIRST], 0, MINUTE, Infinity).reporting).toBe(false);
  book.record([report('a', 1)], 1000);
  expect(book.read([FIRST], 6000, MINUTE, Infinity).reporting).toBe(true);
  expect(book.read([FIRST], 6001, MINUTE, Infinity).reporting).toBe(false);
});

it('is idle since the last invocation of any gateway, or since an instance became ready', () => {
  const book = new LoadBook();
  book.record([report('a', 1, { idleMs: 30_000 }), report('b', 1, { idleMs: 20_000 })], 100_000);
  expect(book.read([FIRST], 100_000, MINUTE, Infinity).idleFor).toBe(20_000);
  expect(book.read([FIRST], 100_000, MINUTE, 5000).idleFor).toBe(5000);
  expect(book.read([SECOND], 100_000, MINUTE, Infinity).idleFor).toBe(Infinity);
});

it('forgets gateways that are gone and functions without load', () => {
  const book = new LoadBook();
  book.record([report('a', 1, { inFlight: 1, peak: 1 })], 0);
  expect(book.dead(60_000)).toEqual([]);
  expect(book.dead(60_001)).toEqual(['a']);
  expect(book.dead(60_002)).toEqual([]);
  for (let now = 1000; now < 200_000; now += 1000) {
    book.record([{ gateway: 'b', at: now, revisions: {} }], now);
  }
  expect(book.read([FIRST], 200_000, MINUTE, Infinity).idleFor).toBe(Infinity);
});

it('adds up the revisions asked for, and no others', () => {
  const book = new LoadBook();
  const idle = { inFlight: 0, waiting: 0, peak: 0, arrivals: 0, idleMs: 9000 };
  const busy = { inFlight: 2, waiting: 0, peak: 2, arrivals: 1, idleMs: 0 };
  const active = book.record([{ gateway: 'a', at: 1, revisions: { [FIRST]: idle, [SECOND]: busy } }], 1000);
  expect([...active]).toEqual([HELLO]);
  expect(book.read([FIRST], 1000, MINUTE, Infinity)).toMatchObject({ stable: 0, idleFor: 9000 });
  expect(book.read([FIRST, SECOND], 1000, MINUTE, Infinity)).toMatchObject({ stable: 2, peak: 2, idleFor: 0 });
});
