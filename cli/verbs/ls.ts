/** `fn ls`. Its columns are for people; programs use --json. */

import type { FunctionSummary } from '../../controller/api/schemas.ts';
import { Api } from '../api.ts';
import { age, printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: [
    'Lists the functions. READY is how many instances can take requests, of how many are wanted; a function that is idle',
    'has none and starts with the next request.',
  ].join('\n'),
  options: {
    quiet: { type: 'boolean', short: 'q', help: 'Names only, one a line' },
  },
  examples: [
    ['fn ls', 'All functions as a table'],
    ["fn ls --json | jq -r '.[].url'", 'The URL of each'],
  ],
  async run({ flags }) {
    const api = await Api.open();
    const functions = await api.get<FunctionSummary[]>('/v1/functions');
    if (flags.json) return printJson(functions);
    if (flags.quiet) return functions.forEach(({ name }) => console.log(name));
    if (functions.length === 0) return console.log('No functions yet: fn init hello && fn deploy hello');
    const rows = functions.map((one) => [
      one.name,
      one.state,
      `${one.ready}/${one.desired}`,
      one.revision ?? '-',
      age(one.updatedAt),
      one.url,
    ]);
    console.log(table(['NAME', 'STATE', 'READY', 'REVISION', 'AGE', 'URL'], rows));
  },
});
