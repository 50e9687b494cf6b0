/** `fn version`. */

import { VERSION } from '../../core/version.ts';
import { printJson } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Shows the version of fn and of the Node it runs on.',
  options: {},
  examples: [['fn version --json', 'For programs: {"version", "node", "platform"}']],
  async run({ flags }) {
    const node = process.versions.node;
    const platform = `${process.platform}-${process.arch}`;
    if (flags.json) printJson({ version: VERSION, node, platform });
    else console.log(`fn ${VERSION} (node ${node}, ${platform})`);
  },
});
