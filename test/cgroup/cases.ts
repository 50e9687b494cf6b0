/** What a group must do on a real kernel, whichever driver: run as root on this machine (host.test.ts) and inside a virtual
 *  machine with cgroup v2 (v2.test.ts). Plain functions, since vitest does not come along into the VM. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Cgroup, CgroupManager } from '../../worker/cgroup/cgroup.ts';
import { eventually } from '../support/eventually.ts';
import { launch, MIB, withGroup } from './group-support.ts';
import { runtimeCases } from './runtime-cases.ts';

export interface CgroupCase {
  readonly name: string;
  /** `skipped` says what the machine lacks that the case needs. */
  readonly run: (manager: CgroupManager) => Promise<{ readonly skipped: string } | void>;
}

const groupCases: readonly CgroupCase[] = [
  {
    name: 'accounts the cpu time that a process burnt, within 3 %',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        const burner = launch(group, SPIN);
        // Both accounts at rest, or reading one after the other would be part of the difference.
        const atRest = async (): Promise<{ burnt: number; accounted: number }> => {
          await group.freeze();
          const accounts = { burnt: scheduledMicros(burner.pid), accounted: group.stats().cpu };
          await group.thaw();
          return accounts;
        };
        const first = await atRest();
        await burns(group, 400_000);
        const second = await atRest();
        const burnt = second.burnt - first.burnt;
        const accounted = second.accounted - first.accounted;
        assert.ok(burnt >= 390_000);
        assert.ok(Math.abs(accounted - burnt) < burnt * 0.03, `burnt ${burnt} µs, accounted ${accounted} µs`);
      }),
  },
  {
    name: 'holds a process to its cpu quota and counts for how long',
    run: (manager) =>
      withGroup(manager, { cpu: 100 }, async (group) => {
        launch(group, SPIN);
        // The kernel adds the time when it lets the process go on: after one long run, several periods later.
        await eventually(() => {
          const { throttled, periods, throttledPeriods } = group.stats();
          assert.ok(throttledPeriods >= 3 && throttled > 0, `${throttledPeriods} periods, ${throttled} µs`);
          assert.ok(periods >= throttledPeriods);
        });
      }),
  },
  {
    name: 'takes new limits while processes run, higher and lower ones',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        launch(group, 'read -r forever');
        group.setLimits({ memory: 64 * MIB, cpu: 500, pids: 20, weight: 50 });
        group.setLimits({ memory: 512 * MIB, cpu: 2000, pids: 100, weight: 200 });
        group.setLimits({ memory: 64 * MIB, cpu: 10, pids: 20 });
      }),
  },
  {
    name: 'keeps the peak of memory after it was freed, and measures it anew after a reset where the kernel can',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        await launch(group, 'dd if=/dev/zero of=/dev/null bs=48M count=1').ended;
        const { memory, memoryPeak } = group.stats();
        assert.ok(memoryPeak !== undefined && memoryPeak >= 48 * MIB, `peak ${memoryPeak}`);
        assert.ok(memory < 24 * MIB, `still ${memory}`);
        const reset = group.resetPeak();
        const after = group.stats().memoryPeak ?? 0;
        assert.equal(after < 24 * MIB, reset, `reset: ${reset}, peak after it: ${after}`);
        if (manager.version === 'v1') assert.ok(reset);
      }),
  },
  {
    name: 'counts an OOM kill: v2 ends the whole group, v1 one process',
    run: (manager) =>
      withGroup(manager, { memory: 48 * MIB }, async (group) => {
        assert.equal(group.stats().oomKills, 0);
        const shell = launch(group, 'dd if=/dev/zero of=/dev/null bs=128M count=1; exit 3');
        const end = await shell.ended;
        assert.ok(group.stats().oomKills >= 1);
        assert.deepEqual(end, manager.version === 'v2' ? { code: null, signal: 'SIGKILL' } : { code: 3, signal: null });
      }),
  },
  {
    name: 'refuses forks above the pids limit and counts them',
    run: (manager) =>
      withGroup(manager, { pids: 12 }, async (group) => {
        launch(group, 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 100 & done; wait');
        await eventually(() => assert.ok(group.stats().forksRefused >= 1));
        assert.ok(group.stats().pids <= 12);
        assert.ok(group.processes().length <= 12);
      }),
  },
  {
    name: 'a frozen group uses no cpu while another burns; thawed, it goes on',
    run: (manager) =>
      withGroup(manager, {}, (group) =>
        withGroup(manager, {}, async (other) => {
          launch(group, SPIN);
          launch(other, SPIN);
          await burns(group, 10_000);
          await group.freeze();
          const frozenAt = group.stats().cpu;
          await burns(other, 100_000);
          assert.equal(group.stats().cpu, frozenAt);
          await group.thaw();
          await burns(group, 10_000);
        }),
      ),
  },
  {
    name: 'freezing twice and thawing what is not frozen do no harm',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        launch(group, SPIN);
        await group.thaw();
        await group.freeze();
        await group.freeze();
        await group.thaw();
        await burns(group, 10_000);
      }),
  },
  {
    name: 'kills a frozen group',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        const shell = launch(group, SPIN);
        await group.freeze();
        await group.kill();
        assert.deepEqual(group.processes(), []);
        assert.equal((await shell.ended).signal, 'SIGKILL');
      }),
  },
  {
    name: 'kills a fork bomb to the last process',
    run: (manager) =>
      withGroup(manager, { pids: 48 }, async (group) => {
        launch(group, 'bomb() { bomb | bomb & }; bomb; wait');
        await eventually(() => assert.ok(group.stats().forksRefused > 0));
        await group.kill();
        assert.deepEqual(group.processes(), []);
        await eventually(() => assert.equal(group.stats().pids, 0)); // Zombies count until process 1 has collected them.
      }),
  },
  {
    name: 'kills what left its session and its parent',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        await launch(group, 'setsid sh -c "sleep 100 & sleep 100 &"').ended;
        assert.ok(group.processes().length >= 2);
        await group.kill();
        assert.deepEqual(group.processes(), []);
      }),
  },
  {
    name: 'killing a group that is empty or was never made is fine',
    async run(manager) {
      await withGroup(manager, {}, (group) => group.kill());
      await manager.open('never').kill();
    },
  },
  {
    name: 'is listed from its making to its removal, which may be repeated',
    async run(manager) {
      const group = manager.open('listed-1');
      assert.ok(!(await manager.list()).includes('listed-1'));
      group.create();
      assert.ok((await manager.list()).includes('listed-1'));
      await group.remove();
      await group.remove();
      assert.ok(!(await manager.list()).includes('listed-1'));
    },
  },
  {
    name: 'is not removed while a process lives in it',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        launch(group, 'read -r forever');
        await assert.rejects(group.remove(), { code: 'EBUSY' });
        assert.equal(group.processes().length, 1);
      }),
  },
  {
    name: 'tells of io always and of pressure on v2',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        const io = group.io();
        assert.ok(io && io.readBytes >= 0 && io.writtenBytes >= 0);
        if (manager.version === 'v1') return;
        const pressure = group.pressure();
        assert.ok(pressure && pressure.cpu.some >= 0 && pressure.memory.full >= 0 && pressure.io.some >= 0);
      }),
  },
  {
    name: 'preparing again keeps the groups there are',
    run: (manager) =>
      withGroup(manager, {}, async (group) => {
        launch(group, 'read -r forever');
        await manager.prepare();
        assert.equal(group.processes().length, 1);
        await assert.rejects(manager.remove(), /still there/);
      }),
  },
];

export const cgroupCases: readonly CgroupCase[] = [...groupCases, ...runtimeCases];

const SPIN = 'while :; do :; done';

/** The scheduler's own account of a process with one thread: its first field is nanoseconds on a cpu. */
function scheduledMicros(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1000;
}

/** Resolves when the group has burnt so much more. */
async function burns(group: Cgroup, micros: number): Promise<void> {
  const before = group.stats().cpu;
  await eventually(() => assert.ok(group.stats().cpu >= before + micros));
}
