/** Reads a verb's flags and operands. An unknown flag names the nearest known one. */

import { parseArgs } from 'node:util';
import { FnError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { COMMON_OPTIONS, type Input, type Options, type Verb } from './verb.ts';

/** @returns 'help' when the help was asked for, whatever else is wrong. */
export function parseArguments(name: string, verb: Verb, argv: readonly string[]): Input<Options> | 'help' {
  const options: Options = { ...verb.options, ...COMMON_OPTIONS };
  const refuse = (detail: string, hint = `See "fn help ${name}".`): never => {
    throw new FnError('usage.invalid', `fn ${name}: ${detail}`, { hint });
  };
  const parserOptions = Object.fromEntries(
    Object.entries(options).map(([key, { type, short, multiple = false }]) => [
      key,
      { type, multiple, ...(short !== undefined && { short }) },
    ]),
  );
  const { values, positionals, tokens } = parseArgs({
    args: [...argv],
    options: parserOptions,
    strict: false,
    tokens: true,
    allowNegative: false,
  });
  if (values['help'] === true) return 'help';
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (!option) {
      const near = nearest(token.name, Object.keys(options));
      refuse(`there is no flag ${token.rawName}`, near ? `Did you mean --${near}? See "fn help ${name}".` : undefined);
    } else if (option.type === 'string' && (token.value === undefined || isFlag(token.value, token.inlineValue))) {
      refuse(`${token.rawName} needs a value`);
    } else if (option.type === 'boolean' && token.value !== undefined) {
      refuse(`${token.rawName} takes no value`);
    }
  }
  const { min, max } = verb.count;
  if (positionals.length < min) {
    const missing = verb.operands.split(' ')[positionals.length] ?? verb.operands;
    refuse(`${missing} is missing`, `Usage: fn ${name} ${verb.operands}`);
  }
  if (positionals.length > max) {
    refuse(`"${positionals[max]}" is one argument too many`, `Usage: fn ${name} ${verb.operands}`.trimEnd());
  }
  return { flags: values as Input<Options>['flags'], positionals };
}

/** `--data --json` forgot a value; `--data=--json` and `--file -` mean it. */
function isFlag(value: string, inline: boolean | undefined): boolean {
  return !inline && value.length > 1 && value.startsWith('-');
}
