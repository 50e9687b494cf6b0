/** `fn gateway`: one gateway process, for a service manager that runs each by itself. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Runs one gateway: HTTP in, instances out. Needs a worker on the same node (FN_HOME) and Redis (REDIS_URL, or the private one of FN_HOME).',
  options: {},
  examples: [
    ['REDIS_URL=redis://127.0.0.1 fn gateway', 'With a Redis of yours; "fn server" runs one of each and a Redis'],
  ],
  run: () => runRole('gateway', async (context) => (await import('../../gateway/main.ts')).startGateway(context)),
});
