/** `fn controller`: one controller process, for a service manager that runs each by itself. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Runs one controller: reconciles the functions and serves the control API. Needs Redis.',
  options: {},
  examples: [
    ['REDIS_URL=redis://127.0.0.1 fn controller', 'With a Redis of yours; "fn server" runs one of each and a Redis'],
  ],
  run: () =>
    runRole('controller', async (context) => (await import('../../controller/main.ts')).startController(context)),
});
