/** A worker on a machine without CNI plugins: in its mount namespace their directories are empty. */

import { existsSync } from 'node:fs';
import { loadConfig } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import { newSandboxId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { mount } from '../../worker/native.ts';
import { Networks } from '../../worker/network/networks.ts';

for (const path of ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni']) {
  if (existsSync(path)) mount('none', path, 'tmpfs', 0);
}
const networks = await Networks.open(loadConfig(), silentLog);
const none = (await networks.create(newSandboxId(), 0, 'none')) === undefined ? 'made' : 'wrong';
const refusal = await networks.create(newSandboxId(), 1, 'internet').catch((error: unknown) => error);
if (!(refusal instanceof FnError)) throw new Error('it was made');
process.stdout.write(
  `${JSON.stringify({ none, internet: `${refusal.code}: ${refusal.message}`, hint: refusal.hint })}\n`,
);
