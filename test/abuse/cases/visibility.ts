/** A42–A47, A59, A65: what of the host and of other functions can be seen or reached. */

import { expect } from 'vitest';
import type { ProbeCase } from './case.ts';

const UNREACHABLE = expect.stringMatching(/^(ENETUNREACH|ECONNREFUSED|EADDRNOTAVAIL|EHOSTUNREACH)$/);
const NAMESPACE = 'a network namespace of its own, without an interface';

export const VISIBILITY_CASES: readonly ProbeCase[] = [
  {
    id: 'A42',
    tried: 'lists the processes',
    result: 'its init and itself',
    heldBy: 'pid namespace',
    probe: 'visibility/processes',
    expected: expect.toSatisfy((names: string[]) => names.length === 2 && names.includes('fn-init')),
  },
  {
    id: 'A42',
    tried: 'signals a process of the host by its pid',
    result: 'ESRCH',
    heldBy: 'pid namespace',
    probe: 'visibility/signalHostPid',
    args: { pid: process.pid },
    expected: 'ESRCH',
  },
  {
    id: 'A43',
    tried: 'reads the environment of process 1',
    result: 'eight names, none of them the platform’s',
    heldBy: 'the environment is made, not inherited',
    probe: 'visibility/environments',
    expected: expect.objectContaining({
      init: ['FN_LISTEN_FD', 'FN_SANDBOX', 'HOME', 'MALLOC_ARENA_MAX', 'MALLOC_TOP_PAD_', 'PATH', 'TMPDIR', 'TZ'],
    }),
  },
  {
    id: 'A40, A42',
    tried: 'asks who it is',
    result: 'user 1000 without capabilities, in cgroup /, on host "fn"',
    heldBy: 'user, cgroup and uts namespace; no capabilities; no_new_privs; seccomp',
    probe: 'visibility/identity',
    expected: {
      hostname: 'fn',
      uid: 1000,
      gid: 1000,
      groups: expect.toSatisfy((groups: number[]) => !groups.includes(0)),
      cgroup: expect.toSatisfy((paths: string[]) => paths.every((path) => path === '/')),
      CapInh: '0000000000000000',
      CapPrm: '0000000000000000',
      CapEff: '0000000000000000',
      CapBnd: '0000000000000000',
      CapAmb: '0000000000000000',
      NoNewPrivs: '1',
      Seccomp: '2',
    },
  },
  {
    id: 'A46',
    tried: 'looks for the sockets of docker, containerd, runc, Redis',
    result: 'ENOENT',
    heldBy: 'the root is the image',
    probe: 'visibility/exists',
    args: {
      paths:
        '/var/run/docker.sock,/run/docker.sock,/run/containerd/containerd.sock,/run/runc,/run/crun,/run/redis/redis.sock,/var/lib/fn,/run/dbus',
    },
    expected: [],
  },
  {
    id: 'A47',
    tried: 'lists its network',
    result: 'loopback only, no route',
    heldBy: NAMESPACE,
    probe: 'visibility/network',
    expected: { interfaces: ['lo'], devices: ['lo'], routes: 0 },
  },
  ...['169.254.169.254', 'fd00:ec2::254', '10.0.0.1', '192.0.2.1', '127.0.0.1'].map((host): ProbeCase => ({
    id: 'A47',
    tried: `connects to ${host}`,
    result: host === '127.0.0.1' ? 'ECONNREFUSED: its own loopback' : 'ENETUNREACH',
    heldBy: NAMESPACE,
    probe: 'visibility/tcp',
    args: { host, port: 80 },
    expected: UNREACHABLE,
  })),
  {
    id: 'A47',
    tried: 'sends a broadcast',
    result: 'ENETUNREACH',
    heldBy: NAMESPACE,
    probe: 'visibility/udp',
    args: { host: '255.255.255.255', port: 9 },
    expected: UNREACHABLE,
  },
  {
    id: 'A48',
    tried: 'fetches the metadata address as a decimal number',
    result: 'ENETUNREACH',
    heldBy: NAMESPACE,
    probe: 'visibility/fetchUrl',
    args: { url: 'http://2852039166/' },
    expected: UNREACHABLE,
  },
  {
    id: 'A48',
    tried: 'fetches it as an IPv4 address inside an IPv6 one',
    result: 'ENETUNREACH',
    heldBy: NAMESPACE,
    probe: 'visibility/fetchUrl',
    args: { url: 'http://[::ffff:169.254.169.254]/' },
    expected: UNREACHABLE,
  },
  {
    id: 'A59',
    tried: 'opens the inspector towards everybody',
    result: 'it listens in a network that nobody else is in',
    heldBy: NAMESPACE,
    probe: 'visibility/inspector',
    expected: expect.stringMatching(/^ws:\/\/0\.0\.0\.0:/),
  },
];
