/** The cases that a cgroup decides, under the real profile and the real worker code: run on this machine and inside a virtual
 *  machine with cgroup v2 alone. What a gateway would add, such as the timeout, is played here. Plain assertions, since vitest
 *  does not come along into the VM. */

import assert from 'node:assert/strict';
import type { Bytes } from '../../../core/units.ts';
import { sleep } from '../../../core/clock.ts';
import type { Cgroup } from '../../../worker/cgroup/cgroup.ts';
import { classifyEnd } from '../../../worker/instances/ends.ts';
import type { Reply } from '../../../worker/sandbox/line.ts';
import { PIDS_LIMIT } from '../../../worker/sandbox/profile.ts';
import { eventually } from '../../support/eventually.ts';
import { type Loaded, MEMORY } from '../support/lab.ts';
import type { AbuseCase } from './case.ts';

export interface GroupCase extends AbuseCase {
  readonly play: (instance: Loaded, version: 'v1' | 'v2') => Promise<void>;
}

interface Sleepers {
  readonly started: number;
  readonly stopped: string;
}

const MIB: Bytes = 2 ** 20;
/** Under emulation everything takes long. */
const WITHIN = 30_000;
const CPU_PERIOD = 100_000;

export const GROUP_CASES: readonly GroupCase[] = [
  {
    id: 'A1',
    tried: 'forks without end, its children too',
    result: `at most ${PIDS_LIMIT} tasks, and none is left once the group is killed`,
    heldBy: 'pids limit; the whole cgroup is killed',
    async play({ call, sandbox }) {
      const reply = call('/bombs/forks');
      await refusesForks(sandbox.cgroup);
      await killed(sandbox, reply);
    },
  },
  {
    id: 'A2',
    tried: 'starts 150 threads',
    result: `refused before ${PIDS_LIMIT} tasks`,
    heldBy: 'pids limit counts threads',
    async play({ call, sandbox }) {
      const { started, stopped } = (await valueOf(call('/limits/sleepers?count=150&as=threads'))) as Sleepers;
      assert.equal(stopped, 'refused');
      assert.ok(started > 0 && started < PIDS_LIMIT);
      await refusesForks(sandbox.cgroup);
      await killed(sandbox);
    },
  },
  {
    id: 'A3',
    tried: `takes ${(2 * MEMORY) / MIB} MiB of ${MEMORY / MIB}`,
    result: 'ended by the kernel, and told as out of memory',
    heldBy: 'memory limit, without swap',
    async play({ call, sandbox }) {
      await assert.rejects(call(`/limits/allocate?mib=${(2 * MEMORY) / MIB}`));
      assert.equal(classifyEnd(await sandbox.ended), 'oom');
    },
  },
  {
    id: 'A4',
    tried: 'has a child take all memory',
    result: 'v2: the kernel ends the whole group; v1: the child, which counts and has the worker end the rest',
    heldBy: 'memory limit; group kill',
    async play({ call, sandbox }, version) {
      const reply = call('/bombs/memoryInChild').catch(() => {});
      await eventually(() => assert.ok(sandbox.cgroup.stats().oomKills > 0), WITHIN);
      if (version === 'v1') await sandbox.cgroup.kill();
      assert.equal(classifyEnd(await sandbox.ended), 'oom');
      await reply;
    },
  },
  {
    id: 'A5',
    tried: 'fills /tmp, then takes 40 MiB',
    result: 'ENOSPC at a quarter of its memory; the peak is on its account',
    heldBy: 'size of the tmpfs; memory limit counts it',
    async play({ call, sandbox }) {
      assert.deepEqual(await valueOf(call('/limits/fill?path=/tmp')), { written: MEMORY / 4, stopped: 'ENOSPC' });
      assert.ok((sandbox.cgroup.stats().memoryPeak ?? 0) > MEMORY / 4);
      sandbox.cgroup.resetPeak();
      await call('/limits/allocate?mib=40');
      assert.ok((sandbox.cgroup.stats().memoryPeak ?? 0) > 40 * MIB);
      assert.equal(sandbox.cgroup.stats().oomKills, 0);
    },
  },
  {
    id: 'A7',
    tried: 'fills the buffers of 480 socket pairs',
    result: 'ended by the kernel, and told as out of memory',
    heldBy: 'memory limit counts kernel memory',
    async play({ call, sandbox }) {
      await assert.rejects(call('/bombs/socketBuffers'));
      assert.equal(classifyEnd(await sandbox.ended), 'oom');
    },
  },
  {
    id: 'A10',
    tried: 'spins with a tenth of a core',
    result: 'gets its quota and no more, which is counted; gone once the group is killed',
    heldBy: 'cpu quota; the whole cgroup is killed',
    async play({ call, sandbox }) {
      const { cgroup } = sandbox;
      const reply = call('/bombs/spin');
      cgroup.setLimits({ memory: MEMORY, cpu: 100, pids: PIDS_LIMIT });
      const before = cgroup.stats();
      await eventually(() => assert.ok(cgroup.stats().throttledPeriods >= before.throttledPeriods + 10), WITHIN);
      const { cpu, periods, throttled } = cgroup.stats();
      assert.ok(throttled > before.throttled);
      const got = (cpu - before.cpu) / ((periods - before.periods) * CPU_PERIOD);
      assert.ok(got < 0.2, `${got} of a core`); // The kernel hands out slices of 5 ms, and collects the debt later.
      await killed(sandbox, reply);
    },
  },
  {
    id: 'A11, A12, A14',
    tried: 'leaves daemons that ignore signals, and spins in its SIGTERM handler',
    result: 'all gone after the grace time',
    heldBy: 'the whole cgroup is killed; pid namespace',
    async play({ call, sandbox }) {
      await call('/bombs/daemons?count=2');
      await call('/bombs/spinOnSigterm');
      assert.ok(sandbox.cgroup.processes().length >= 4);
      await sandbox.stop(100);
      assert.deepEqual(sandbox.cgroup.processes(), []);
    },
  },
  {
    id: 'A15',
    tried: 'works on after its reply',
    result: 'frozen: no cpu until it is thawed; killed while frozen it is gone all the same',
    heldBy: 'the freezer',
    async play({ call, sandbox }) {
      const { cgroup } = sandbox;
      assert.equal(await valueOf(call('/bombs/workOn')), 0);
      await cgroup.freeze();
      const before = cgroup.stats().cpu;
      await sleep(200);
      assert.equal(cgroup.stats().cpu, before);
      await cgroup.thaw();
      await eventually(async () => assert.ok(Number(await valueOf(call('/bombs/workOn'))) > 0), WITHIN);
      await cgroup.freeze();
      await cgroup.kill();
      await sandbox.ended;
      assert.deepEqual(cgroup.processes(), []);
    },
  },
  {
    id: 'A30, A32',
    tried: 'looks for its cgroup, and mounts the hierarchy',
    result: 'it is in cgroup /, nothing is mounted, EPERM',
    heldBy: 'cgroup namespace; seccomp',
    async play({ call }) {
      const { cgroup } = (await valueOf(call('/visibility/identity'))) as { cgroup: string[] };
      assert.deepEqual([...new Set(cgroup)], ['/']);
      assert.equal(await valueOf(call('/kernel/mountCgroupV2')), 'EPERM');
      assert.equal(await valueOf(call('/kernel/mountCgroupV1')), 'EPERM');
    },
  },
];

async function valueOf(reply: Promise<Reply>): Promise<unknown> {
  return (await reply).body['value'];
}

async function refusesForks(group: Cgroup): Promise<void> {
  await eventually(() => assert.ok(group.stats().forksRefused > 0), WITHIN);
  assert.ok(group.stats().pids <= PIDS_LIMIT);
}

/** As at a timeout: nothing of it runs any more, and whoever waited is told. */
async function killed(sandbox: Loaded['sandbox'], reply?: Promise<unknown>): Promise<void> {
  const told = reply?.catch(() => {});
  await sandbox.cgroup.kill();
  assert.deepEqual(sandbox.cgroup.processes(), []);
  await sandbox.ended;
  await told;
}
