import { expect, test } from 'vitest';
import { NODE, OURS, outcome, type Program } from './same.ts';

const plain = (headers: Headers): unknown => [[...headers], headers.getSetCookie()];

test.each<[string, Program]>([
  ['from a record', ({ Headers }) => plain(new Headers({ B: '1', a: ' 2\t', 'Set-Cookie': 'x' }))],
  [
    'from pairs',
    ({ Headers }) =>
      plain(
        new Headers([
          ['b', '1'],
          ['B', '2'],
          ['set-cookie', 'x'],
          ['set-cookie', 'y'],
        ]),
      ),
  ],
  [
    'from other headers',
    ({ Headers }) =>
      plain(
        new Headers(
          new Headers([
            ['a', '1'],
            ['set-cookie', 'x'],
          ]),
        ),
      ),
  ],
  ['from a map', ({ Headers }) => plain(new Headers(new Map([['a', '1']]) as unknown as Record<string, string>))],
  ['from nothing', ({ Headers }) => plain(new Headers(undefined))],
  ['from null', ({ Headers }) => plain(new Headers(null as unknown as Record<string, string>))],
  ['from text', ({ Headers }) => plain(new Headers('a: b' as unknown as Record<string, string>))],
  ['from a pair of three', ({ Headers }) => plain(new Headers([['a', 'b', 'c']] as unknown as [string, string][]))],
  ['from a pair of one', ({ Headers }) => plain(new Headers([['a']] as unknown as [string, string][]))],
  ['numbers as values', ({ Headers }) => plain(new Headers({ a: 1 } as unknown as Record<string, string>))],
  [
    'forEach, keys, values, entries',
    ({ Headers }) => {
      const headers = new Headers({ b: '2', a: '1' });
      const seen: unknown[] = [...headers.keys(), ...headers.values(), ...headers.entries()];
      headers.forEach((value, name) => seen.push(name, value));
      return seen;
    },
  ],
  ['the tag', ({ Headers }) => Object.prototype.toString.call(new Headers())],
])('Headers, %s', async (_, program) => {
  expect(await outcome(program, OURS)).toEqual(await outcome(program, NODE));
});

test('Headers behave the same over ten thousand random steps', async () => {
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const names = ['a', 'A', 'b', 'set-cookie', 'Set-Cookie', 'x-1', 'cookie', '', 'bad name', 'ü', 'a:'];
  const values = ['1', ' 2 ', 'a, b', '', 'ä', '\t', 'x\n', '\n x', 'x\ny', '\0', '€'];
  const pick = <T>(from: readonly T[]): T => from[random(from.length)] as T;
  const [ours, node] = [new OURS.Headers(), new NODE.Headers()];
  for (let step = 0; step < 10_000; step++) {
    const [name, value] = [pick(names), pick(values)];
    const act = pick<(headers: Headers) => unknown>([
      (headers) => headers.append(name, value),
      (headers) => headers.set(name, value),
      (headers) => headers.delete(name),
      (headers) => headers.get(name),
      (headers) => headers.has(name),
      plain,
    ]);
    const results = await Promise.all([ours, node].map((headers) => outcome(() => act(headers), OURS)));
    expect(results[0], `step ${step}: ${act.toString()} ${JSON.stringify([name, value])}`).toEqual(results[1]);
    if (random(50) === 0) for (const headers of [ours, node]) for (const key of names.slice(0, 7)) headers.delete(key);
  }
});
