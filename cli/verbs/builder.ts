/** `fn builder`: one builder process, for a service manager that runs each by itself. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Runs one builder: turns uploaded directories into images in FN_HOME. Needs Redis.',
  options: {},
  examples: [
    ['REDIS_URL=redis://127.0.0.1 fn builder', 'With a Redis of yours; "fn server" runs one of each and a Redis'],
  ],
  run: () => runRole('builder', async (context) => (await import('../../builder/main.ts')).startBuilder(context)),
});
