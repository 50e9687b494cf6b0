/** `fn controller`: one controller process, for a platform of several machines. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Runs one controller: reconciles the functions and serves the control API. Needs Redis.',
  options: {},
  examples: [
    [
      'REDIS_URL=redis://10.0.0.5 fn controller',
      'With a shared Redis; "fn server" starts all processes of one machine',
    ],
  ],
  run: () =>
    runRole('controller', async (context) => (await import('../../controller/main.ts')).startController(context)),
});
