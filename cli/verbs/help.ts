/** `fn help`. */

import { helpOf, overview } from '../help.ts';
import { defineVerb } from '../verb.ts';
import { findVerb } from '../verbs.ts';

export const verb = defineVerb({
  operands: '[verb]',
  count: { min: 0, max: 1 },
  help: 'Lists the verbs, or shows the flags and examples of one.',
  options: {},
  examples: [['fn help deploy', 'Flags and examples of deploy']],
  async run({ positionals: [name] }) {
    if (name === undefined) return console.log(overview());
    const found = findVerb(name);
    console.log(helpOf(found.name, await found.load()));
  },
});
