import { expect, test } from 'vitest';
import { classifyEnd } from '../../worker/instances/ends.ts';
import { endOf } from '../../worker/sandbox/end.ts';

test.each([
  ['a kill by the memory limit', { signal: 'SIGKILL', oomKills: 1 }, 'oom'],
  ['a child killed by the memory limit, after which the process exits', { exitCode: 1, oomKills: 1 }, 'oom'],
  ['V8 giving up at its heap limit', { signal: 'SIGABRT', oomKills: 0, outOfMemory: true }, 'oom'],
  ['abort() without a word of memory', { signal: 'SIGABRT', oomKills: 0 }, 'signal'],
  ['a word of memory, and SIGKILL from outside', { signal: 'SIGKILL', oomKills: 0, outOfMemory: true }, 'signal'],
  ['a word of memory, and an exit', { exitCode: 1, oomKills: 0, outOfMemory: true }, 'exit'],
  ['an exit with the number of a signal', { exitCode: 137, oomKills: 0 }, 'exit'],
  ['a clean exit', { exitCode: 0, oomKills: 0 }, 'exit'],
  ['SIGKILL from outside', { signal: 'SIGKILL', oomKills: 0 }, 'signal'],
  ['an end that nobody saw', { oomKills: 0 }, 'lost'],
] as const)('%s', (_, end, reason) => {
  expect(classifyEnd(end)).toBe(reason);
});

test.each([
  ['the init exits with the code of its child', { exitCode: 3 }, { exitCode: 3 }, { exitCode: 3 }],
  ['an exit code above 128, which the init confirms', { exitCode: 137 }, { exitCode: 137 }, { exitCode: 137 }],
  [
    'a signal, which the init tells apart from that code',
    { exitCode: 137 },
    { signal: 'SIGKILL' },
    { signal: 'SIGKILL' },
  ],
  ['a signal that the function forged', { exitCode: 3 }, { signal: 'SIGKILL' }, { exitCode: 3 }],
  ['a code that the function forged', { exitCode: 3 }, { exitCode: 0 }, { exitCode: 3 }],
  [
    'the init killed with everything else, and a forged line before',
    { signal: 9 },
    { exitCode: 0 },
    { signal: 'SIGKILL' },
  ],
  ['no line of the init', { exitCode: 0 }, undefined, { exitCode: 0 }],
  ['no status, since another worker started it', 'unknown', { signal: 'SIGSEGV' }, { signal: 'SIGSEGV' }],
  ['neither', 'unknown', undefined, {}],
] as const)('%s', (_, status, report, end) => {
  expect(endOf(status, report)).toEqual(end);
});
