/** `fn builder`: one builder process, for a platform of several machines. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Runs one builder: turns uploaded directories into images in FN_HOME. Needs Redis.',
  options: {},
  examples: [
    ['REDIS_URL=redis://10.0.0.5 fn builder', 'With a shared Redis; "fn server" starts all processes of one machine'],
  ],
  run: () => runRole('builder', async (context) => (await import('../../builder/main.ts')).startBuilder(context)),
});
