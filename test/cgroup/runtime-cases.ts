/** The group as the OCI runtime makes it at `ociPath(id)`: limited, read, killed and removed by us, also when the runtime has
 *  forgotten it. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isExecutable } from '../../core/processes.ts';
import type { CgroupManager } from '../../worker/cgroup/cgroup.ts';
import type { CgroupCase } from './cases.ts';
import { MIB } from './group-support.ts';

const run = promisify(execFile);

/** crun ≤ 1.8 refuses a hybrid host (worker/host.ts hides one half from it); runc is fine with both. */
const RUNTIME = { v1: 'runc', v2: 'crun' } as const;
const INIT = '/usr/bin/tini-static';
const SEARCH = `${process.env['PATH'] ?? ''}:/usr/sbin`;

export const runtimeCases: readonly CgroupCase[] = [
  {
    name: 'an OCI runtime makes the group at ociPath; its limits, accounts and end are ours',
    async run(manager) {
      const runtime = RUNTIME[manager.version];
      const runtimes = SEARCH.split(':').map((dir) => join(dir, runtime));
      if (!runtimes.some(isExecutable) || !isExecutable(INIT)) return { skipped: `needs ${runtime} and tini-static` };
      const dir = await mkdtemp(join(tmpdir(), 'fn-cgroup-'));
      try {
        return await withContainer(manager, runtime, dir);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
  },
];

async function withContainer(manager: CgroupManager, runtime: string, dir: string): Promise<void> {
  const id = 'oci-1';
  for (const each of ['proc', 'dev', 'sys']) await mkdir(join(dir, 'rootfs', each), { recursive: true });
  await copyFile(INIT, join(dir, 'rootfs/init'));
  await writeFile(join(dir, 'config.json'), JSON.stringify(config(manager.ociPath(id))));
  const create = [runtime, '--root', join(dir, 'state'), 'create', '--bundle', dir, id];
  // Created, never started: its init waits in the group. It keeps its output open, so that is a file, not our pipe.
  const log = join(dir, 'log');
  await run('sh', ['-c', `exec "$@" </dev/null >${log} 2>&1`, 'sh', ...create], {
    env: { PATH: SEARCH },
    timeout: 30_000,
  }).catch(async (cause: unknown) => {
    throw new Error(await readFile(log, 'utf8'), { cause });
  });
  using group = manager.open(id);
  assert.deepEqual(await manager.list(), [id]);
  assert.equal(group.processes().length, 1);
  group.setLimits({ memory: 64 * MIB, cpu: 500, pids: 32 });
  const { cpu, pids, oomKills } = group.stats();
  assert.ok(cpu > 0 && pids >= 1);
  assert.equal(oomKills, 0);
  await group.freeze();
  await group.kill();
  await rm(join(dir, 'state'), { recursive: true });
  await group.remove();
  assert.deepEqual(await manager.list(), []);
}

function config(cgroupsPath: string): unknown {
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/init', '--', '/init'], cwd: '/' },
    root: { path: 'rootfs' },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { cgroupsPath, namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'cgroup' }] },
  };
}
