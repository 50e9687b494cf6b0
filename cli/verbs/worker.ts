/** `fn worker`: a node's worker process, for a service manager that runs each by itself. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: "Runs this node's worker: it makes, watches and ends instances. Needs root, and Redis.",
  options: {},
  examples: [
    ['REDIS_URL=redis://127.0.0.1 fn worker', 'With a Redis of yours; "fn server" runs one of each and a Redis'],
  ],
  run: () => runRole('worker', async (context) => (await import('../../worker/main.ts')).startWorker(context)),
});
