/** Finds what no part of this worker answers for (an earlier worker's sandboxes, a runtime that was killed half-way) and
 *  either takes it over or removes it. The truth is the host's: directories, cgroups, sockets; never a runtime's list. */

import { readdir } from 'node:fs/promises';
import { parseSandboxId, type SandboxId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Millis } from '../core/units.ts';
import type { InstanceOwner } from './instances/instance.ts';
import type { InstanceManager } from './instances/manager.ts';
import type { Pool } from './pool.ts';
import { readState, removeLeftovers, Sandbox, type SandboxHost } from './sandbox/sandbox.ts';

const WARM_WITHIN: Millis = 2000;

/** Sandboxes on this host that nobody here owns. */
async function strangers(host: SandboxHost): Promise<SandboxId[]> {
  const { sandboxes, run } = host.config.paths;
  const [directories, sockets, groups] = await Promise.all([
    readdir(sandboxes),
    readdir(run).then((names) => names.map((name) => name.replace(/\.sock$/, ''))),
    host.cgroups.list(),
  ]);
  const ids = new Set(
    [...directories, ...sockets, ...groups, ...host.networks.list()].flatMap((name) => parseSandboxId(name) ?? []),
  );
  return [...ids].filter((id) => !host.living.has(id));
}

/** At start: what runs on is taken over, the rest removed. Returns how many of each. */
export async function adoptOrRemove(
  host: SandboxHost,
  manager: InstanceManager,
  pool: Pool<InstanceOwner>,
  log: Log,
): Promise<{ adopted: number; removed: number }> {
  const counts = { adopted: 0, removed: 0 };
  for (const id of await strangers(host)) {
    const state = await readState<InstanceOwner>(host.config, id);
    const sandbox = state && Sandbox.adopt<InstanceOwner>(host, state);
    if (sandbox?.owner) {
      manager.adopt(sandbox, sandbox.owner);
      counts.adopted++;
    } else if (sandbox && (await isGeneric(sandbox))) {
      pool.adopt(sandbox);
      counts.adopted++;
    } else if (await removed(host, id, log, sandbox)) counts.removed++;
  }
  return counts;
}

/** While running: removes what failed to go away at its end. */
export async function sweep(host: SandboxHost, log: Log): Promise<void> {
  for (const id of await strangers(host)) {
    if (host.living.has(id)) continue; // It was being made while we looked.
    if (await removed(host, id, log)) log.warn({ sandbox: id }, 'orphan removed');
  }
}

/** One that cannot be removed, say because a process of it hangs in the kernel, must not keep the others, nor the worker
 *  from starting: the next sweep tries again. */
async function removed(host: SandboxHost, id: SandboxId, log: Log, sandbox?: AsyncDisposable): Promise<boolean> {
  try {
    await (sandbox ? sandbox[Symbol.asyncDispose]() : removeLeftovers(host, id));
    return true;
  } catch (error) {
    log.error({ err: error, sandbox: id }, 'orphan not removed');
    return false;
  }
}

/** A sandbox that was being claimed when its worker died has loaded a function nobody remembers. It must not come into the
 *  pool, where it would be claimed for somebody else; and it may answer as if it were as good as new, so it is not asked. */
async function isGeneric(sandbox: Sandbox<InstanceOwner>): Promise<boolean> {
  if (sandbox.wasClaimed) return false;
  try {
    await sandbox.warm(WARM_WITHIN);
    return true;
  } catch {
    return false;
  }
}
