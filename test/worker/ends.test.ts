import { expect, test } from 'vitest';
import { classifyEnd } from '../../worker/instances/ends.ts';

test.each([
  ['a kill by the memory limit', { signal: 'SIGKILL', oomKills: 1 }, [], 'oom'],
  ['a child killed by the memory limit, after which the process exits', { exitCode: 1, oomKills: 1 }, [], 'oom'],
  [
    'V8 giving up at its heap limit',
    { signal: 'SIGABRT', oomKills: 0 },
    ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'],
    'oom',
  ],
  ['abort() without a word of memory', { signal: 'SIGABRT', oomKills: 0 }, ['assertion failed'], 'signal'],
  ['an exit with the number of a signal', { exitCode: 137, oomKills: 0 }, [], 'exit'],
  ['a clean exit', { exitCode: 0, oomKills: 0 }, [], 'exit'],
  ['SIGKILL from outside', { signal: 'SIGKILL', oomKills: 0 }, [], 'signal'],
  ['an end that nobody saw', { oomKills: 0 }, [], 'lost'],
] as const)('%s', (_, end, tail, reason) => {
  expect(classifyEnd(end, tail)).toBe(reason);
});
