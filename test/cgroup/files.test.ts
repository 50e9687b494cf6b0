/** Both drivers on plain directories: what exactly they write, and how they read what kernels print. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Cgroup } from '../../worker/cgroup/cgroup.ts';
import { CgroupsV1 } from '../../worker/cgroup/v1.ts';
import { CgroupsV2 } from '../../worker/cgroup/v2.ts';
import { thrownBy } from '../support/thrown.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'fn-cgroup-'));
});
afterEach(() => rm(root, { recursive: true }));

function put(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
const text = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('v1 files', () => {
  const manager = (): CgroupsV1 =>
    new CgroupsV1(
      {
        kind: 'v1',
        v1: [
          { mount: join(root, 'cpu,cpuacct'), controllers: ['cpu', 'cpuacct'] },
          ...['memory', 'pids', 'freezer', 'blkio'].map((name) => ({ mount: join(root, name), controllers: [name] })),
          { mount: join(root, 'systemd'), controllers: ['name=systemd'] },
        ],
        v2: undefined,
        disabled: [],
      },
      'fn-1',
    );
  const open = (): Cgroup => manager().open('a');

  it('writes limits in the units of v1, with swap off', () => {
    put({
      'memory/fn-1/a/memory.limit_in_bytes': '9223372036854771712\n',
      'memory/fn-1/a/memory.memsw.limit_in_bytes': '9223372036854771712\n',
      'cpu,cpuacct/fn-1/a/cpu.cfs_period_us': '100000\n',
      'cpu,cpuacct/fn-1/a/cpu.cfs_quota_us': '-1\n',
      'cpu,cpuacct/fn-1/a/cpu.shares': '1024\n',
      'pids/fn-1/a/pids.max': 'max\n',
      'blkio/fn-1/a/blkio.throttle.read_bps_device': '',
    });
    using group = open();
    group.setLimits({
      memory: 268_435_456,
      cpu: 500,
      pids: 64,
      weight: 50,
      io: [{ device: '254:0', readBytesPerS: 1000 }],
    });
    expect(text('memory/fn-1/a/memory.limit_in_bytes')).toBe('268435456');
    expect(text('memory/fn-1/a/memory.memsw.limit_in_bytes')).toBe('268435456');
    expect(text('cpu,cpuacct/fn-1/a/cpu.cfs_quota_us')).toBe('50000');
    expect(text('cpu,cpuacct/fn-1/a/cpu.shares')).toBe('512');
    expect(text('pids/fn-1/a/pids.max')).toBe('64');
    expect(text('blkio/fn-1/a/blkio.throttle.read_bps_device')).toBe('254:0 1000');
  });

  it('limits memory alone where the kernel does not account swap, and never below 1 ms of cpu a period', () => {
    put({
      'memory/fn-1/a/memory.limit_in_bytes': '',
      'cpu,cpuacct/fn-1/a/cpu.cfs_period_us': '',
      'cpu,cpuacct/fn-1/a/cpu.cfs_quota_us': '',
      'pids/fn-1/a/pids.max': '',
    });
    using group = open();
    group.setLimits({ memory: 2 ** 26, cpu: 1, pids: 64 });
    expect(text('memory/fn-1/a/memory.limit_in_bytes')).toBe('67108864');
    expect(text('cpu,cpuacct/fn-1/a/cpu.cfs_quota_us')).toBe('1000');
  });

  it('reads accounts as microseconds and bytes', () => {
    put({
      'cpu,cpuacct/fn-1/a/cpuacct.usage': '1540123999\n',
      'cpu,cpuacct/fn-1/a/cpu.stat':
        'nr_periods 30\nnr_throttled 29\nthrottled_time 1460000500\nnr_bursts 0\nburst_time 0\n',
      'memory/fn-1/a/memory.usage_in_bytes': '4096\n',
      'memory/fn-1/a/memory.max_usage_in_bytes': '8192\n',
      'memory/fn-1/a/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
      'pids/fn-1/a/pids.current': '11\n',
      'pids/fn-1/a/pids.events': 'max 36\n',
      'blkio/fn-1/a/blkio.throttle.io_service_bytes':
        '254:0 Read 4096\n254:0 Write 512\n254:0 Sync 4608\n254:0 Async 0\n254:0 Discard 0\n254:0 Total 4608\n7:0 Read 4\nTotal 4612\n',
    });
    using group = open();
    expect(group.stats()).toEqual({
      cpu: 1_540_123,
      throttled: 1_460_000,
      periods: 30,
      throttledPeriods: 29,
      memory: 4096,
      memoryPeak: 8192,
      oomKills: 3,
      pids: 11,
      forksRefused: 36,
    });
    expect(group.io()).toEqual({ readBytes: 4100, writtenBytes: 512 });
    expect(group.pressure()).toBeUndefined();
  });

  it('counts no OOM kill where the kernel (< 4.13) does not tell', () => {
    put({
      'cpu,cpuacct/fn-1/a/cpuacct.usage': '0\n',
      'cpu,cpuacct/fn-1/a/cpu.stat': 'nr_periods 0\nnr_throttled 0\nthrottled_time 0\n',
      'memory/fn-1/a/memory.usage_in_bytes': '0\n',
      'memory/fn-1/a/memory.max_usage_in_bytes': '0\n',
      'memory/fn-1/a/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\n',
      'pids/fn-1/a/pids.current': '0\n',
      'pids/fn-1/a/pids.events': 'max 0\n',
    });
    using group = open();
    expect(group.stats().oomKills).toBe(0);
  });

  it('lists what is left in any hierarchy, also in those without a controller', async () => {
    put({ 'systemd/fn-1/only-here/cgroup.procs': '', 'pids/fn-1/b/cgroup.procs': '', 'memory/fn-1/b/x': '' });
    expect(await manager().list()).toEqual(['b', 'only-here']);
  });

  it('finds the processes of a group in every hierarchy and below it, each once', () => {
    put({
      'pids/fn-1/a/cgroup.procs': '12\n13\n',
      'memory/fn-1/a/cgroup.procs': '13\n',
      'freezer/fn-1/a/inner/cgroup.procs': '14\n',
      'systemd/fn-1/a/cgroup.procs': '15\n',
    });
    expect(new Set(open().processes())).toEqual(new Set([12, 13, 14, 15]));
    expect(open().processes()).toHaveLength(4);
  });

  it('names the group from the root of each hierarchy for the OCI runtime', () => {
    expect(manager().ociPath('hello-1a2b3c4d')).toBe('/fn-1/hello-1a2b3c4d');
  });

  it.each(['', '.', '..', 'a/b', '../a', 'a\n', '.hidden', 'x'.repeat(101)])('refuses %j as a name', (id) => {
    expect(() => manager().ociPath(id)).toThrow(/cannot name a cgroup/);
    expect(() => manager().open(id)).toThrow(/cannot name a cgroup/);
  });
});

describe('v2 files', () => {
  const manager = (own = '/', isDelegated: (dir: string) => boolean = () => false): CgroupsV2 =>
    new CgroupsV2({ mount: root, own, name: 'fn-1', isDelegated });

  it('writes limits, with swap off and the group killed as one', () => {
    put({
      'fn-1/a/memory.max': 'max\n',
      'fn-1/a/memory.swap.max': 'max\n',
      'fn-1/a/memory.oom.group': '0\n',
      'fn-1/a/cpu.max': 'max 100000\n',
      'fn-1/a/cpu.weight': '100\n',
      'fn-1/a/pids.max': 'max\n',
      'fn-1/a/io.max': '',
    });
    using group = manager().open('a');
    group.setLimits({
      memory: 2 ** 26,
      cpu: 1500,
      pids: 64,
      weight: 50,
      io: [{ device: '8:0', writeBytesPerS: 1000 }],
    });
    expect(text('fn-1/a/memory.max')).toBe('67108864');
    expect(text('fn-1/a/memory.swap.max')).toBe('0');
    expect(text('fn-1/a/memory.oom.group')).toBe('1');
    expect(text('fn-1/a/cpu.max')).toBe('150000 100000');
    expect(text('fn-1/a/cpu.weight')).toBe('50');
    expect(text('fn-1/a/pids.max')).toBe('64');
    expect(text('fn-1/a/io.max')).toBe('8:0 rbps=max wbps=1000');
  });

  const accounts = {
    'fn-1/a/cpu.stat':
      'usage_usec 1540\nuser_usec 1000\nsystem_usec 540\nnr_periods 4\nnr_throttled 2\nthrottled_usec 77\nnr_bursts 0\nburst_usec 0\n',
    'fn-1/a/memory.current': '4096\n',
    'fn-1/a/memory.events': 'low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n',
    'fn-1/a/pids.current': '11\n',
    'fn-1/a/pids.events': 'max 3\n',
  };

  it('reads accounts', () => {
    put({ ...accounts, 'fn-1/a/memory.peak': '8192\n' });
    using group = manager().open('a');
    expect(group.stats()).toEqual({
      cpu: 1540,
      throttled: 77,
      periods: 4,
      throttledPeriods: 2,
      memory: 4096,
      memoryPeak: 8192,
      oomKills: 2,
      pids: 11,
      forksRefused: 3,
    });
  });

  it('reports no peak, rather than a wrong one, on kernels without memory.peak (< 5.19)', () => {
    put(accounts);
    using group = manager().open('a');
    expect(group.stats().memoryPeak).toBeUndefined();
    expect(group.resetPeak()).toBe(false);
  });

  it('reads pressure and io, summed over devices', () => {
    const waits = 'some avg10=0.00 avg60=1.50 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=45\n';
    put({
      'fn-1/a/cpu.pressure': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n', // No "full" before 5.13.
      'fn-1/a/memory.pressure': waits,
      'fn-1/a/io.pressure': waits,
      'fn-1/a/io.stat':
        '254:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n7:0 rbytes=4 wbytes=0 rios=1 wios=0\n',
    });
    using group = manager().open('a');
    expect(group.pressure()).toEqual({
      cpu: { some: 9, full: 0 },
      memory: { some: 123, full: 45 },
      io: { some: 123, full: 45 },
    });
    expect(group.io()).toEqual({ readBytes: 4100, writtenBytes: 512 });
  });

  it('tells nothing of io and refuses to limit it where the kernel lacks the controller', () => {
    put({ ...accounts, 'fn-1/a/memory.max': '', 'fn-1/a/cpu.max': '', 'fn-1/a/pids.max': '' });
    using group = manager().open('a');
    expect(group.io()).toBeUndefined();
    const limits = { memory: 2 ** 26, cpu: 500, pids: 64 };
    expect(thrownBy(() => group.setLimits({ ...limits, io: [{ device: '8:0' }] })).code).toBe('machine.unsupported');
  });

  it('lives below the nearest delegated group above the process, else below the root', () => {
    const delegated = (dir: string): boolean => dir === join(root, 'system.slice/fn.service');
    const own = '/system.slice/fn.service/fn-platform';
    expect(manager(own, delegated).ociPath('x')).toBe('/system.slice/fn.service/fn-1/x');
    expect(manager('/user.slice/session-1.scope', delegated).ociPath('x')).toBe('/fn-1/x');
    expect(manager('/', delegated).ociPath('x')).toBe('/fn-1/x');
  });
});
