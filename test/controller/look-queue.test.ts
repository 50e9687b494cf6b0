import { expect, test } from 'vitest';
import { LookQueue } from '../../controller/look-queue.ts';
import type { FunctionName } from '../../core/ids.ts';
import { eventually } from '../support/eventually.ts';

const [a, b] = ['a', 'b'] as FunctionName[] as [FunctionName, FunctionName];

/** Looks that end when they are told to. */
function slowLooks(): { began: FunctionName[]; look: (name: FunctionName) => Promise<void>; end: () => void } {
  const began: FunctionName[] = [];
  const open: (() => void)[] = [];
  return {
    began,
    look: (name) => {
      began.push(name);
      return new Promise((resolve) => open.push(resolve));
    },
    end: () => open.shift()?.(),
  };
}

test('a function is looked at once at a time, and once more for all that was added meanwhile', async () => {
  const { began, look, end } = slowLooks();
  await using looks = new LookQueue(look);
  looks.add([a, a]);
  await eventually(() => expect(began).toEqual([a]));
  for (let more = 0; more < 20; more++) looks.add([a]);
  looks.add([b]);
  await eventually(() => expect(began).toEqual([a, b]));
  end();
  await eventually(() => expect(began).toEqual([a, b, a]));
  end();
  end();
  looks.add([b]);
  await eventually(() => expect(began).toEqual([a, b, a, b]));
  end();
});

test('ten are looked at side by side, and the others in their turn', async () => {
  const { began, look, end } = slowLooks();
  await using looks = new LookQueue(look);
  const names = Array.from({ length: 25 }, (_, i) => `f${i}` as FunctionName);
  looks.add(names);
  await eventually(() => expect(began).toHaveLength(10));
  for (let ended = 1; ended <= 15; ended++) {
    end();
    await eventually(() => expect(began).toHaveLength(10 + ended));
  }
  expect(began).toEqual(names);
  for (let left = 0; left < 10; left++) end();
});

test('after its end nothing more is looked at', async () => {
  const { began, look, end } = slowLooks();
  const looks = new LookQueue(look);
  looks.add([a]);
  await eventually(() => expect(began).toEqual([a]));
  looks.add([a, b]);
  const closed = looks[Symbol.asyncDispose]();
  end();
  await closed;
  expect(began).toEqual([a]);
});
