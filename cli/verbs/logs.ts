/** `fn logs`: what the API streams, one line each. Asked to follow, it ends with Ctrl-C and without complaint. */

import type { LogLine } from '../../core/logs.ts';
import { FnError } from '../../core/errors.ts';
import { parseDuration } from '../../core/units.ts';
import { Api } from '../api.ts';
import { onInterrupt } from '../interrupt.ts';
import { dim } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '<name>',
  count: { min: 1, max: 1 },
  help: [
    "Shows a function's log, of all its instances, also of those that are gone. Each line: time (UTC, with the day unless it is",
    'today), instance, text. Without flags the last 100 lines.',
  ].join('\n'),
  options: {
    follow: { type: 'boolean', short: 'f', help: 'Keep showing lines as they come, until Ctrl-C' },
    since: { type: 'string', value: '<duration>', help: 'Only lines of the last 5m, 2h, …' },
    tail: { type: 'string', short: 'n', value: '<lines>', help: 'Only the last lines' },
    instance: { type: 'string', value: '<id>', help: 'Only lines of this instance' },
    invocation: { type: 'string', value: '<id>', help: 'Only lines of this invocation' },
  },
  examples: [
    ['fn logs hello -f', 'What happens now'],
    ['fn logs hello --since 5m', 'The last five minutes'],
    ['fn logs hello --json --tail 10', 'One JSON object a line'],
  ],
  async run({ flags, positionals: [name = ''] }) {
    const query = new URLSearchParams();
    if (flags.follow) query.set('follow', 'true');
    if (flags.since !== undefined) query.set('since', duration(flags.since));
    if (flags.tail !== undefined) query.set('tail', wholeNumber(flags.tail));
    else if (flags.since === undefined) query.set('tail', '100');
    for (const key of ['instance', 'invocation'] as const) {
      const value = flags[key];
      if (value !== undefined) query.set(key, value);
    }
    const api = await Api.open();
    const signal = onInterrupt();
    try {
      const path = `/v1/functions/${encodeURIComponent(name)}/logs?${query.toString()}`;
      for await (const line of api.lines<LogLine>(path, { signal })) {
        console.log(flags.json ? JSON.stringify(line) : shown(line));
      }
    } catch (error) {
      if (!signal.aborted) throw error; // Else it was Ctrl-C: that is how following ends.
    }
  },
});

function shown({ at, instance, from, text }: LogLine): string {
  const [day = '', clock = ''] = new Date(at).toISOString().slice(0, 23).split('T');
  const time = day === new Date().toISOString().slice(0, 10) ? clock : `${day} ${clock}`;
  const source = from === 'platform' ? 'platform' : instance.slice(instance.lastIndexOf('-') + 1);
  return `${dim(`${time} ${source.padEnd(8)}`)} ${text}`;
}

function duration(text: string): string {
  if (parseDuration(text) !== undefined) return text;
  throw new FnError('usage.invalid', `--since takes a duration such as 5m, not "${text}"`, {
    hint: 'Units: ms, s, m, h, d.',
  });
}

function wholeNumber(text: string): string {
  if (/^\d{1,5}$/.test(text)) return text;
  throw new FnError('usage.invalid', `--tail takes a number of lines, not "${text}"`);
}
