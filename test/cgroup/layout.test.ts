/** Detection: which driver a machine gets, from the texts of /proc alone. */

import { describe, expect, it } from 'vitest';
import { readLayout } from '../../worker/cgroup/layout.ts';
import { managerFor, ownGroup } from '../../worker/cgroup/open.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';
import * as machines from './layouts.ts';

const layoutOf = ({ mountinfo, cgroups }: { mountinfo: string; cgroups: string }) => readLayout(mountinfo, cgroups);

describe('layout', () => {
  it.each([
    { name: 'a hybrid host', machine: machines.separateHybrid, kind: 'hybrid', version: 'v1' },
    { name: 'a hybrid host of systemd', machine: machines.systemdHybrid, kind: 'hybrid', version: 'v1' },
    { name: 'a container on a v1 host', machine: machines.dockerV1, kind: 'v1', version: 'v1' },
    { name: 'a v2 host of systemd', machine: machines.systemdV2, kind: 'v2', version: 'v2' },
    { name: 'a container on a v2 host', machine: machines.dockerV2, kind: 'v2', version: 'v2' },
    { name: "the host's tree bound in a container", machine: machines.dockerV2Host, kind: 'v2', version: 'v2' },
    { name: 'a tree mounted twice', machine: machines.mountedTwice, kind: 'v2', version: 'v2' },
  ])('$name is $kind and gets the $version driver', ({ machine, kind, version }) => {
    const layout = layoutOf(machine);
    expect(layout.kind).toBe(kind);
    expect(managerFor(layout, '0::/\n', 'fn-1').version).toBe(version);
  });

  it('finds controllers that share a hierarchy under one mount, and hierarchies that only have a name', () => {
    const { v1 } = layoutOf(machines.systemdHybrid);
    expect(v1).toContainEqual({ mount: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] });
    expect(v1).toContainEqual({ mount: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'] });
    expect(v1).toHaveLength(7);
  });

  it('takes no mount option for a controller', () => {
    const names = layoutOf(machines.systemdHybrid).v1.flatMap(({ controllers }) => controllers);
    expect(names).not.toContain('rw');
    expect(names).not.toContain('xattr');
  });

  it('takes the mount below /sys/fs/cgroup when a tree is mounted twice, and the one on top', () => {
    expect(layoutOf(machines.mountedTwice).v2).toEqual({ mount: '/sys/fs/cgroup', root: '/' });
  });

  it('reads mount points with escaped spaces', () => {
    const [first = ''] = machines.mountedTwice.mountinfo.split('\n');
    expect(readLayout(first, machines.mountedTwice.cgroups).v2?.mount).toBe('/mnt/all groups');
  });

  it('survives lines that are cut off or of another kind', () => {
    expect(readLayout('31 23\n\nnonsense - cgroup\n - cgroup2 cgroup2 rw', '').kind).toBe('none');
  });

  it('says what to mount when nothing is mounted', () => {
    const error = thrownBy(() => managerFor(layoutOf(machines.none), '', 'fn-1'));
    expect(error.code).toBe('machine.unsupported');
    expect(error.hint).toContain('mount -t cgroup2');
  });

  it('names a controller that the kernel was booted without', async () => {
    const layout = layoutOf(machines.withoutMemory);
    expect(layout.disabled).toEqual(['memory']);
    const error = await rejectionOf(managerFor(layout, '', 'fn-1').prepare());
    expect(error.message).toContain('memory');
    expect(error.hint).toContain('booted without memory');
  });
});

describe('the group this process is in', () => {
  it('is the path after 0:: where the whole tree is mounted', () => {
    expect(ownGroup('9:name=systemd:/x\n0::/system.slice/fn.service\n', '/')).toBe('/system.slice/fn.service');
  });

  it('is seen from the mount when that shows only a part of the tree', () => {
    const self = '0::/system.slice/docker-c0ffee.scope/inner\n';
    expect(ownGroup(self, '/system.slice/docker-c0ffee.scope')).toBe('/inner');
  });

  it('is the root when it lies outside of what is mounted, or is not told', () => {
    expect(ownGroup('0::/../other\n', '/')).toBe('/');
    expect(ownGroup('0::/a\n', '/b')).toBe('/');
    expect(ownGroup('', '/')).toBe('/');
  });
});
