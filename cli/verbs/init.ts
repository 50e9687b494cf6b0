/** `fn init`: a new function from a template, ready to deploy. Writes into a directory that is new or empty, or not at all. */

import { access, constants, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { FnError } from '../../core/errors.ts';
import { FUNCTION_NAME_PATTERN } from '../../core/ids.ts';
import { nearest } from '../../core/nearest.ts';
import { printJson } from '../output.ts';
import { defineVerb } from '../verb.ts';

const TEMPLATES = ['http', 'event', 'queue'] as const;
const LANGUAGES = ['js', 'ts'] as const;
const SOURCE = new URL('../templates/', import.meta.url);

export const verb = defineVerb({
  operands: '<dir>',
  count: { min: 1, max: 1 },
  help: [
    'Makes a new function in a directory, named after it. Templates: http (web-standard Request and Response), event',
    '(event and context, as in AWS Lambda), queue (runs the jobs of a BullMQ queue).',
  ].join('\n'),
  options: {
    template: { type: 'string', short: 't', value: '<http|event|queue>', help: 'What to start from; http by default' },
    lang: { type: 'string', short: 'l', value: '<js|ts>', help: 'JavaScript or TypeScript; js by default' },
  },
  examples: [
    ['fn init hello', 'An HTTP function in JavaScript, in ./hello'],
    ['fn init worker --template queue --lang ts', 'A queue consumer in TypeScript'],
  ],
  async run({ flags, positionals: [dir = '.'] }) {
    const template = oneOf('template', flags.template ?? 'http', TEMPLATES);
    const lang = oneOf('lang', flags.lang ?? 'js', LANGUAGES);
    const target = resolve(dir);
    const name = nameFrom(basename(target));
    if ((await madeDirectory(target)).length > 0) {
      throw new FnError('usage.invalid', `${target} is not empty`, {
        hint: 'Name a directory that does not exist yet.',
      });
    }
    const files = ['fn.yaml', 'README.md', `index.${lang}`];
    for (const file of files) {
      const text = await readFile(new URL(`${template}/${file}`, SOURCE), 'utf8');
      await writeFile(join(target, file), text.replaceAll('function-name', name));
    }
    // Tells Node and editors that index.js is an ES module; also what "npm install <dependency>" adds to.
    await writeFile(join(target, 'package.json'), await readFile(new URL('package.json', SOURCE), 'utf8'));

    const shown = relative('', target) || '.';
    if (flags.json) return printJson({ name, dir: target, files: [...files, 'package.json'] });
    console.log(`Made ${name} in ${shown}: ${files.join(', ')}, package.json`);
    console.log(`Next: fn deploy ${shown}`);
  },
});

/** Makes the directory; what is in it already. */
async function madeDirectory(target: string): Promise<string[]> {
  try {
    await mkdir(target, { recursive: true });
    await access(target, constants.W_OK);
    return await readdir(target);
  } catch (cause) {
    throw new FnError('usage.invalid', `${target} cannot be made a directory`, {
      hint: 'Name a directory that does not exist yet, where you may write.',
      cause,
    });
  }
}

function oneOf<T extends string>(flag: string, value: string, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  const near = nearest(value, known);
  throw new FnError('usage.invalid', `--${flag} must be one of ${known.join(', ')}, not "${value}"`, {
    hint: near ? `Did you mean --${flag} ${near}?` : 'See "fn help init".',
  });
}

/** `My Function` becomes `my-function`. */
function nameFrom(directory: string): string {
  const name = directory
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^[^a-z]+|-+$/g, '')
    .slice(0, 40)
    .replace(/-+$/, '');
  if (FUNCTION_NAME_PATTERN.test(name)) return name;
  throw new FnError('usage.invalid', `no function name can be made from "${directory}"`, {
    hint: 'Name the directory with letters, digits and "-", starting with a letter.',
  });
}
