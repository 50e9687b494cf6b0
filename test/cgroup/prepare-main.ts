/** Prepares from wherever this process is, twice, lets an OCI runtime make a group there, and prints where that led to as
 *  JSON. See place-cases.ts. */

import { readFileSync } from 'node:fs';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { runtimeCases } from './runtime-cases.ts';

async function prepare(): Promise<unknown> {
  const manager = openCgroups('0000beef');
  await manager.prepare();
  const ociPath = manager.ociPath('x');
  const enabled = readFileSync(`/sys/fs/cgroup${ociPath.replace(/x$/, '')}cgroup.subtree_control`, 'latin1');
  using group = manager.open('x');
  group.create();
  group.setLimits({ memory: 2 ** 26, cpu: 500, pids: 20 });
  const restarted = openCgroups('0000beef');
  await restarted.prepare();
  const again = restarted.ociPath('x');
  const own = readFileSync('/proc/self/cgroup', 'latin1').trim().slice('0::'.length);
  await group.remove();
  for (const each of runtimeCases) await each.run(manager);
  await manager.remove();
  return { ociPath, own, again, enabled: enabled.trim().split(' ').sort() };
}

const found = await prepare().catch((error: unknown) => ({
  error: error instanceof Error ? error.stack : String(error),
}));
process.stdout.write(JSON.stringify(found));
