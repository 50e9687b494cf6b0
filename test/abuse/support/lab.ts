/** The part of a worker that makes sandboxes, in this process: no Redis, no gateway, no platform around it. For what must be
 *  counted exactly, and for a virtual machine that has nothing else. The process should be one of its own: its mount
 *  namespace may change, and orphans become its children. */

import { chmod, chown, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLAIM_PATH } from '../../../core/control.ts';
import { loadConfig } from '../../../core/config.ts';
import { type FunctionName, instanceId, newSandboxId, type RevisionId } from '../../../core/ids.ts';
import { silentLog } from '../../../core/log.ts';
import type { Egress } from '../../../core/egress.ts';
import type { Bytes, MilliCpu } from '../../../core/units.ts';
import { openCgroups } from '../../../worker/cgroup/open.ts';
import { chooseDriver, hideHybridCgroup2 } from '../../../worker/host.ts';
import { becomeSubreaper, mount, MS_BIND, MS_SHARED, unmount } from '../../../worker/native.ts';
import { Networks } from '../../../worker/network/networks.ts';
import { Orphans } from '../../../worker/orphans.ts';
import type { Millis } from '../../../core/units.ts';
import { Line, type Reply } from '../../../worker/sandbox/line.ts';
import { createDriver } from '../../../worker/sandbox/driver.ts';
import { PIDS_LIMIT } from '../../../worker/sandbox/profile.ts';
import { removeLeftovers, Sandbox, type SandboxHost } from '../../../worker/sandbox/sandbox.ts';
import { UidSlots } from '../../../worker/sandbox/slots.ts';
import { makeRootfs } from './rootfs.ts';

export interface Lab extends AsyncDisposable {
  readonly host: SandboxHost;
  readonly rootfs: string;
  /** A sandbox that has loaded the files, or the directory, from the pool or made for it. It is the caller's to dispose. */
  load(files: Readonly<Record<string, string>> | string, options?: LoadOptions): Promise<Loaded>;
}

export interface LoadOptions {
  readonly sandbox?: Sandbox<string>;
  readonly memory?: Bytes;
  readonly egress?: Egress;
  readonly cpu?: MilliCpu;
  readonly handler?: string;
}

export interface Loaded extends AsyncDisposable {
  readonly sandbox: Sandbox<string>;
  /** Its lines so far. */
  readonly log: readonly string[];
  /** What the claim was answered. */
  readonly claim: Reply;
  /** The function must answer with a JSON object. */
  readonly call: (path: string) => Promise<Reply>;
}

export const MEMORY: Bytes = 128 * 2 ** 20;
const CLAIM_WITHIN = 60_000;
const COLLECT_EVERY = 100;

export async function openLab(): Promise<Lab> {
  const home = await mkdtemp(join(tmpdir(), 'fnt-'));
  const config = loadConfig({ ...process.env, FN_HOME: home, FN_LOG_LEVEL: 'silent' });
  const { sandboxes, layers, run } = config.paths;
  for (const path of [home, layers, sandboxes, run]) {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o711);
  }
  await chown(run, 0, config.gatewayUid);
  const rootfs = join(layers, 'base');
  await makeRootfs(rootfs);
  mount(sandboxes, sandboxes, null, MS_BIND);
  mount('none', sandboxes, null, MS_SHARED);
  const driverName = chooseDriver(config);
  const decoy = driverName === 'crun' ? hideHybridCgroup2() : undefined;
  const cgroups = openCgroups(config.instanceOfPlatform);
  await cgroups.prepare();
  becomeSubreaper();
  const host: SandboxHost = {
    config,
    driver: createDriver(driverName, join(home, 'state'), decoy?.path),
    cgroups,
    networks: await Networks.open(config, silentLog),
    slots: new UidSlots(config.uidBase, 2000),
    living: new Set(),
  };
  const orphans = new Orphans();
  const collecting = setInterval(() => orphans.collect(), COLLECT_EVERY);
  let tasks = 0;

  return {
    host,
    rootfs,
    async load(
      files,
      { sandbox: given, memory = MEMORY, egress = 'none', cpu = 1000, handler = 'index.default' } = {},
    ) {
      const wanted = { rootfs, memory, egress };
      const sandbox = given ?? (await Sandbox.start<string>(host, newSandboxId(), wanted));
      const log: string[] = [];
      sandbox.listen({ onLines: (lines) => log.push(...lines.map(({ text }) => text)), onDropped: () => {} });
      const task = join(home, `task-${tasks++}`);
      await mkdir(task, { mode: 0o755 });
      if (typeof files === 'string') await cp(files, task, { recursive: true });
      else for (const [name, text] of Object.entries(files)) await writeFile(join(task, name), text);
      sandbox.mountTask(task);
      sandbox.cgroup.setLimits({ memory, cpu, pids: PIDS_LIMIT });
      const claim = {
        function: 'lab' as FunctionName,
        revision: 'lab-00001' as RevisionId,
        instance: instanceId('lab' as FunctionName, sandbox.id),
        handler,
        env: {},
        timeoutMs: 30_000,
        memoryBytes: memory,
      };
      return {
        sandbox,
        log,
        claim: await ask(sandbox.socket, 'POST', CLAIM_PATH, claim, CLAIM_WITHIN).catch(async (cause: unknown) => {
          await sandbox[Symbol.asyncDispose]();
          throw new Error(`not claimed: ${log.join('\n')}`, { cause });
        }),
        call: (path) => ask(sandbox.socket, 'GET', path, undefined, CLAIM_WITHIN),
        async [Symbol.asyncDispose]() {
          await sandbox[Symbol.asyncDispose]();
          await rm(task, { recursive: true });
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const id of host.living) await removeLeftovers(host, id); // A test failed half-way.
      clearInterval(collecting);
      while (orphans.collect() > 0 || orphans.collect() > 0);
      await host.networks.close();
      while (unmount(sandboxes));
      decoy?.unmountOutside(sandboxes);
      await cgroups.remove();
      await rm(home, { recursive: true });
    },
  };
}

/** Over a connection of its own. */
async function ask(socket: string, method: string, path: string, body: unknown, timeout: Millis): Promise<Reply> {
  using line = new Line(socket);
  return await line.ask(method, path, body, timeout);
}
