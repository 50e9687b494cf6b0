/** `fn worker`: a node's worker process, for a platform of several machines. */

import { runRole } from '../role.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: "Runs this node's worker: it makes, watches and ends instances. Needs root, and Redis.",
  options: {},
  examples: [
    ['REDIS_URL=redis://10.0.0.5 fn worker', 'With a shared Redis; "fn server" starts all processes of one machine'],
  ],
  run: () => runRole('worker', async (context) => (await import('../../worker/main.ts')).startWorker(context)),
});
