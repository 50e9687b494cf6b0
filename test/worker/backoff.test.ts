import { expect, test } from 'vitest';
import { VirtualClock } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import type { RevisionId } from '../../core/ids.ts';
import { SHORT_LIFE, StartBackoff } from '../../worker/instances/backoff.ts';

const REVISION = 'shop-00001' as RevisionId;
const broken = new FnError('function.load_failed', 'SyntaxError: boom', { logs: ['boom'] });

function make(): { clock: VirtualClock; backoff: StartBackoff } {
  const clock = new VirtualClock();
  return { clock, backoff: new StartBackoff(clock, () => 1) };
}

test('a revision that never failed may start', () => {
  const { backoff } = make();
  expect(() => backoff.check(REVISION)).not.toThrow();
});

test('after a failed start the next one waits, and says why the last one failed', () => {
  const { clock, backoff } = make();
  backoff.failed(REVISION, broken);
  expect(() => backoff.check(REVISION)).toThrow(/SyntaxError: boom/);
  clock.advance(1000);
  expect(() => backoff.check(REVISION)).not.toThrow();
});

test('each further failure doubles the wait, up to a minute', () => {
  const { clock, backoff } = make();
  const waits = Array.from({ length: 9 }, () => {
    backoff.failed(REVISION, broken);
    let waited = 0;
    for (; ; waited += 1000, clock.advance(1000)) {
      try {
        backoff.check(REVISION);
        return waited / 1000;
      } catch {
        // Still in back-off.
      }
    }
  });
  expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test('twenty starts that fail side by side are one failure, not twenty in a row', () => {
  const { clock, backoff } = make();
  for (let start = 0; start < 20; start++) backoff.failed(REVISION, broken);
  clock.advance(1000);
  expect(() => backoff.check(REVISION)).not.toThrow();
});

test('a start that succeeds clears the record', () => {
  const { backoff } = make();
  backoff.failed(REVISION, broken);
  backoff.started(REVISION);
  expect(() => backoff.check(REVISION)).not.toThrow();
});

test('an instance that dies at once by itself is a loop from the third time on, though each start succeeds', () => {
  const { backoff } = make();
  for (const expected of [false, false, true]) {
    backoff.started(REVISION);
    backoff.ended(REVISION, 50, broken);
    const refused = (() => {
      try {
        backoff.check(REVISION);
        return false;
      } catch {
        return true;
      }
    })();
    expect(refused).toBe(expected);
  }
});

test('an instance that lived long enough ends the loop', () => {
  const { clock, backoff } = make();
  for (let n = 0; n < 3; n++) backoff.ended(REVISION, 50, broken);
  clock.advance(60_000);
  backoff.ended(REVISION, SHORT_LIFE, broken);
  backoff.ended(REVISION, 50, broken);
  expect(() => backoff.check(REVISION)).not.toThrow();
});
