/** Every case, by the test that plays it. docs/abuse.md is made from this. */

import type { AbuseCase } from './case.ts';
import { EVENT_CASES } from './events.ts';
import { FILE_CASES } from './files.ts';
import { GROUP_CASES } from './groups.ts';
import { KERNEL_CASES } from './kernel.ts';
import { LIMIT_CASES } from './limits.ts';
import { NEIGHBOUR_CASES } from './neighbours.ts';
import { REPLY_CASES } from './replies.ts';
import { RESOURCE_CASES } from './resources.ts';
import { VISIBILITY_CASES } from './visibility.ts';

/** By name of `test/abuse/<name>.test.ts`. */
const BY_TEST: Readonly<Record<string, readonly AbuseCase[]>> = {
  sandbox: [...KERNEL_CASES, ...FILE_CASES, ...VISIBILITY_CASES, ...LIMIT_CASES],
  resources: [...RESOURCE_CASES, ...NEIGHBOUR_CASES],
  groups: GROUP_CASES,
  replies: [...REPLY_CASES, ...EVENT_CASES],
};

/** In the order of their numbers. */
export function catalogue(): (AbuseCase & { readonly test: string })[] {
  const cases = Object.entries(BY_TEST).flatMap(([test, list]) => list.map((one) => ({ ...one, test })));
  return cases.toSorted((a, b) => firstNumber(a) - firstNumber(b));
}

/** `A33–A36` stands for all of them, `A11, A12` for two. */
export function numbersOf(id: string): number[] {
  return id.split(', ').flatMap((part) => {
    const [from = 0, to = from] = part.split('–').map((one) => Number(one.slice(1)));
    return Array.from({ length: to - from + 1 }, (_, n) => from + n);
  });
}

function firstNumber({ id }: AbuseCase): number {
  return numbersOf(id)[0] ?? 0;
}
