/** `fn rm`: asks for the removal and waits until nothing of the functions is left. */

import type { FunctionSummary } from '../../controller/api/schemas.ts';
import { FnError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import { Api } from '../api.ts';
import { INTERRUPTED, onInterrupt } from '../interrupt.ts';
import { printJson } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '<name…>',
  count: { min: 0, max: Infinity },
  help: [
    'Removes functions: no more requests, what is in flight is finished, then the instances stop. Returns when they are',
    'gone. Their logs go with them.',
  ].join('\n'),
  options: {
    all: { type: 'boolean', help: 'Every function' },
  },
  examples: [
    ['fn rm hello', 'Remove one'],
    ['fn rm --all', 'Remove all of them'],
  ],
  async run({ flags, positionals }) {
    if ((positionals.length === 0) !== (flags.all === true)) {
      throw new FnError('usage.invalid', flags.all ? 'names and --all exclude each other' : 'which function?', {
        hint: 'fn rm <name…>, or fn rm --all.',
      });
    }
    const api = await Api.open();
    const known = (await api.get<FunctionSummary[]>('/v1/functions')).map(({ name }) => name);
    const names = flags.all ? known : [...new Set(positionals)];
    for (const name of names) requireKnown(name, known); // All or none: a typo removes nothing.
    const signal = onInterrupt();
    try {
      await Promise.all(names.map((name) => remove(api, name, signal, flags.json === true)));
    } catch (error) {
      if (!signal.aborted) throw error;
      console.error('interrupted; what was asked for goes on');
      return INTERRUPTED;
    }
    if (flags.json) printJson({ removed: names });
    return 0;
  },
});

async function remove(api: Api, name: string, signal: AbortSignal, quiet: boolean): Promise<void> {
  const path = `/v1/functions/${name}?wait=true`;
  for (;;) {
    const response = await api.call(path, { method: 'DELETE', signal }).catch((error: unknown) => {
      if (error instanceof FnError && error.code === 'function.not_found') return undefined; // Someone else's, or done.
      throw error;
    });
    const { removed } = response ? ((await response.json()) as { removed: boolean }) : { removed: true };
    if (removed) break;
    if (!quiet) console.log(`${name}: still finishing an invocation …`);
  }
  if (!quiet) console.log(`removed ${name}`);
}

function requireKnown(name: string, known: readonly string[]): void {
  if (known.includes(name)) return;
  const near = nearest(name, known);
  throw new FnError('function.not_found', `there is no function ${name}`, {
    ...(near !== undefined && { hint: `Did you mean ${near}? "fn ls" lists all of them.` }),
  });
}
