import { expect, test } from 'vitest';
import { VirtualClock } from '../../core/clock.ts';
import { HELD_AT_MOST, StartLine } from '../../worker/start-line.ts';

/** A line, and who has had a turn so far, in order. */
function make(places: number) {
  const clock = new VirtualClock();
  const line = new StartLine(places, clock);
  const turns: string[] = [];
  const held = new Map<string, Disposable>();
  const enter = (name: string, signal = new AbortController().signal, isLast = false): Promise<void> =>
    line.enter(signal, isLast).then((place) => {
      turns.push(name);
      held.set(name, place);
    });
  return { clock, turns, enter, leave: (name: string) => held.get(name)?.[Symbol.dispose]() };
}

const soon = (): Promise<void> => new Promise(setImmediate);

test('as many as there are places begin at once, the others when one is done, first come first served', async () => {
  const { turns, enter, leave } = make(2);
  for (const name of ['a', 'b', 'c', 'd']) void enter(name);
  await soon();
  expect(turns).toEqual(['a', 'b']);
  leave('b');
  await soon();
  expect(turns).toEqual(['a', 'b', 'c']);
  leave('a');
  await soon();
  expect(turns).toEqual(['a', 'b', 'c', 'd']);
});

test('what is made for nobody in particular goes after everyone else, even those who come later', async () => {
  const { turns, enter, leave } = make(1);
  void enter('a');
  void enter('refill', undefined, true);
  void enter('b');
  await soon();
  leave('a');
  await soon();
  leave('b');
  await soon();
  expect(turns).toEqual(['a', 'b', 'refill']);
});

test('a place given back twice is one place', async () => {
  const { turns, enter, leave } = make(1);
  for (const name of ['a', 'b', 'c']) void enter(name);
  await soon();
  leave('a');
  leave('a');
  await soon();
  expect(turns).toEqual(['a', 'b']);
});

test('a start that hangs keeps its place for a while only', async () => {
  const { clock, turns, enter, leave } = make(1);
  for (const name of ['hangs', 'b', 'c']) void enter(name);
  await soon();
  clock.advance(HELD_AT_MOST - 1);
  await soon();
  expect(turns).toEqual(['hangs']);
  clock.advance(1);
  await soon();
  expect(turns).toEqual(['hangs', 'b']);
  leave('hangs');
  await soon();
  expect(turns).toEqual(['hangs', 'b']);
});

test('whoever waits too long is told that the node is busy, and does not hold up those behind', async () => {
  const { turns, enter, leave } = make(1);
  const late = new AbortController();
  void enter('a');
  const b = enter('b', late.signal);
  void enter('c');
  late.abort();
  await expect(b).rejects.toMatchObject({ code: 'capacity.node_full', options: { retryAfterS: 1 } });
  await expect(enter('d', late.signal)).rejects.toMatchObject({ code: 'capacity.node_full' });
  leave('a');
  await soon();
  expect(turns).toEqual(['a', 'c']);
});
