/** A worker that makes networks and waits to be killed. */

import { loadConfig } from '../../core/config.ts';
import { silentLog } from '../../core/log.ts';
import { newSandboxId } from '../../core/ids.ts';
import { Networks } from '../../worker/network/networks.ts';

const networks = await Networks.open(loadConfig(), silentLog);
const ids = [newSandboxId(), newSandboxId()] as const;
const made = [
  { id: ids[0], netns: await networks.create(ids[0], 0, 'internet') },
  { id: ids[1], netns: await networks.create(ids[1], 1, ['api.test']) },
];
process.stdout.write(`${JSON.stringify(made)}\n`);
setInterval(() => {}, 60_000);
