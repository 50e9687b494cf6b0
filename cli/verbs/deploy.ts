/** `fn deploy`: from a directory to a URL, with its steps shown as they happen. */

import { resolve } from 'node:path';
import { FnError } from '../../core/errors.ts';
import { functionOf } from '../../core/ids.ts';
import { formatDuration } from '../../core/units.ts';
import { Api } from '../api.ts';
import { deployDirectory, type DeployDone, type DeployStep } from '../deploy.ts';
import { INTERRUPTED, onInterrupt } from '../interrupt.ts';
import { dim, paint, printJson } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '[dir…]',
  count: { min: 0, max: Infinity },
  help: [
    'Builds the function of a directory (the current one by default) into an image and sends traffic to it once an',
    'instance of it is ready. A revision that does not become ready gets no traffic: what ran before runs on.',
    'docs/fn-yaml.md lists what fn.yaml may say.',
  ].join('\n'),
  options: {},
  examples: [
    ['fn deploy', 'The current directory'],
    ['fn deploy functions/*', 'Several, one after the other'],
    ['fn deploy hello --json | jq -r .url', 'Its URL, for scripts'],
  ],
  async run({ flags, positionals }) {
    const api = await Api.open();
    const signal = onInterrupt();
    const done: DeployDone[] = [];
    for (const directory of positionals.length > 0 ? positionals : ['.']) {
      const began = performance.now();
      let revision: string | undefined;
      const onStep = (step: DeployStep): void => {
        if (step.step === 'revision') revision = step.text;
        if (!flags.json) showStep(step);
      };
      try {
        const result = await deployDirectory(api, resolve(directory), onStep, signal);
        done.push(result);
        if (!flags.json) showDone(result, performance.now() - began);
      } catch (error) {
        if (!signal.aborted) throw error;
        const hint = hintAfter(revision);
        if (flags.json) console.error(JSON.stringify(new FnError('process.down', 'interrupted', { hint }).toProblem()));
        else console.error(`interrupted. ${hint}`);
        return INTERRUPTED;
      }
    }
    if (flags.json) printJson(done.length === 1 ? done[0] : done);
    return 0;
  },
});

/** What Ctrl-C left behind. */
function hintAfter(revision: string | undefined): string {
  if (revision === undefined) return 'Unless its revision was already written, the function is as it was: see "fn ls".';
  return `${revision} was already written and goes on without us: see "fn inspect ${functionOf(revision)}".`;
}

function showStep({ step, text, ms }: DeployStep): void {
  console.log(`  ${step.padEnd(14)}${text}${dim(`  ${formatDuration(ms)}`)}`);
}

function showDone({ name, revision, url, unchanged }: DeployDone, ms: number): void {
  const what = unchanged ? `${revision} is already what runs` : `${revision} is live`;
  console.log(`${paint('green', name)}: ${what}${dim(`  ${formatDuration(ms)}`)}`);
  console.log(url);
}
