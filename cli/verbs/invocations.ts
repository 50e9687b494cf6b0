/** `fn invocations`: what the latest calls of a function came to and what they used, from the host's accounts. */

import type { InvocationRecord } from '../../core/invocation-log.ts';
import { FnError } from '../../core/errors.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import { Api } from '../api.ts';
import { age, printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '<name>',
  count: { min: 1, max: 1 },
  help: [
    "Lists a function's finished invocations, newest first, with their accounts: how long each took, the cpu time and memory",
    'it used, and how its instance was found. A * marks what other invocations in the same instance share in.',
  ].join('\n'),
  options: {
    tail: { type: 'string', short: 'n', value: '<n>', help: 'At most so many, up to 1000; 20 by default' },
  },
  examples: [
    ['fn invocations hello', 'The last twenty'],
    ["fn invocations hello -n 1000 --json | jq 'map(.cpu) | add'", 'The cpu time of the last thousand, µs'],
  ],
  async run({ flags, positionals: [name = ''] }) {
    const tail = Number(flags.tail ?? '20');
    if (!Number.isInteger(tail) || tail < 1 || tail > 1000) {
      throw new FnError('usage.invalid', `--tail takes a number from 1 to 1000, not "${flags.tail}"`);
    }
    const api = await Api.open();
    const path = `/v1/functions/${encodeURIComponent(name)}/invocations?tail=${tail}`;
    const records = await api.get<InvocationRecord[]>(path);
    if (flags.json) return printJson(records);
    if (records.length === 0) return console.log('No invocations yet.');
    const rows = records.map((one) => [
      age(one.at),
      one.id,
      String(one.status),
      one.outcome,
      one.start,
      formatDuration(one.wall),
      `${formatDuration(one.cpu / 1000)}${one.shared ? '*' : ''}`,
      one.memoryPeak === undefined ? '-' : formatBytes(one.memoryPeak),
    ]);
    console.log(table(['AGE', 'ID', 'STATUS', 'OUTCOME', 'START', 'WALL', 'CPU', 'PEAK'], rows));
  },
});
