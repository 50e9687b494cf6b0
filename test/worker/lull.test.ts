import { expect, test } from 'vitest';
import { VirtualClock } from '../../core/clock.ts';
import { CALM, Lull, WAIT_AT_MOST } from '../../worker/lull.ts';

const turn = (): Promise<void> => new Promise(setImmediate);

function make() {
  const clock = new VirtualClock();
  const lull = new Lull(clock);
  const done: string[] = [];
  return { clock, done, later: (name: string) => lull.later(() => void done.push(name)) };
}

test('what was put off is done in its order once nothing more came for a while', async () => {
  const { clock, done, later } = make();
  later('a');
  clock.advance(CALM - 1);
  later('b');
  clock.advance(CALM - 1);
  await turn();
  expect(done).toEqual([]);
  clock.advance(1);
  await turn();
  expect(done).toEqual(['a', 'b']);
});

test('under what never pauses it is done all the same', async () => {
  const { clock, done, later } = make();
  for (let passed = 0; passed < WAIT_AT_MOST; passed += CALM / 2) {
    later(String(passed));
    clock.advance(CALM / 2);
  }
  await turn();
  expect(done).toContain('0');
});
