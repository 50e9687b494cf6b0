/** Help for people: an overview of the verbs, and one page for each. */

import { dim } from './output.ts';
import { COMMON_OPTIONS, type Option, type Verb } from './verb.ts';
import { VERBS } from './verbs.ts';

const GROUPS = [
  ['functions', 'Functions'],
  ['platform', 'The platform'],
  ['processes', 'Single processes, where "fn server" is not to run them'],
] as const;

export function overview(): string {
  const lines = ['fn: a self-hosted serverless platform', '', 'Usage: fn <verb> [arguments] [flags]'];
  for (const [group, title] of GROUPS) {
    lines.push('', `${title}:`);
    for (const [name, verb] of Object.entries(VERBS)) {
      if (verb.group === group) lines.push(`  ${name.padEnd(12)}${verb.summary}`);
    }
  }
  lines.push(
    '',
    'Start here:',
    '  fn init hello && fn deploy hello && fn invoke hello',
    '',
    'Exit codes: 0 done, 1 failed, 2 the command was wrong. "fn help <verb>" has examples.',
    'FN_HOME says which platform is meant (/var/lib/fn as root, ~/.fn otherwise).',
  );
  return lines.join('\n');
}

export function helpOf(name: string, verb: Verb): string {
  const lines = [`Usage: fn ${name} ${verb.operands}`.trimEnd(), '', verb.help, '', 'Flags:'];
  const options = Object.entries({ ...verb.options, ...COMMON_OPTIONS }).map(([key, option]) => ({
    flag: flagOf(key, option),
    help: option.help,
  }));
  const width = Math.max(...options.map(({ flag }) => flag.length)) + 2;
  for (const { flag, help } of options) lines.push(`  ${flag.padEnd(width)}${help}`);
  lines.push('', 'Examples:');
  for (const [command, what] of verb.examples) lines.push(`  ${command}`, dim(`      ${what}`));
  return lines.join('\n');
}

function flagOf(key: string, option: Option): string {
  const short = option.short === undefined ? '    ' : `-${option.short}, `;
  return `${short}--${key}${option.type === 'string' ? ` ${option.value ?? '<value>'}` : ''}`;
}
