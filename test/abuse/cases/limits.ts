/** A5–A9, A13, A19–A23, A58: takes as much as it can get of one thing. It gets so much, and lives on. One probe each, in an
 *  instance of 256 MiB. */

import { expect } from 'vitest';
import type { ProbeCase } from './case.ts';

const MIB = 2 ** 20;
/** A few descriptors are node's own. */
const about = (limit: number): unknown => expect.toSatisfy((got: number) => got > limit - 60 && got <= limit);

export const LIMIT_CASES: readonly ProbeCase[] = [
  {
    id: 'A5',
    tried: 'fills /tmp',
    result: 'ENOSPC at 64 MiB',
    heldBy: 'size of the tmpfs',
    probe: 'limits/fill',
    args: { path: '/tmp' },
    expected: { written: 64 * MIB, stopped: 'ENOSPC' },
  },
  {
    id: 'A5',
    tried: 'fills /dev/shm',
    result: 'ENOSPC at 16 MiB',
    heldBy: 'size of the tmpfs',
    probe: 'limits/fill',
    args: { path: '/dev/shm' },
    expected: { written: 16 * MIB, stopped: 'ENOSPC' },
  },
  {
    id: 'A6',
    tried: 'makes 100,000 empty files in /tmp',
    result: 'ENOSPC at 4,094',
    heldBy: 'inodes of the tmpfs',
    probe: 'limits/fillInodes',
    args: { path: '/tmp' },
    expected: { made: about(4096), stopped: 'ENOSPC' },
  },
  {
    id: 'A8',
    tried: 'asks for 200,000 names that do not exist, each of which the kernel keeps',
    result: 'done; the kernel takes it from the function’s memory',
    heldBy: 'memory limit counts kernel memory',
    probe: 'limits/negativeDentries',
    args: { count: 200_000 },
    expected: 'done',
  },
  {
    id: 'A9',
    tried: 'reads 120 MB through the page cache',
    result: 'done within its own memory',
    heldBy: 'memory limit counts the page cache',
    probe: 'limits/readEverything',
    expected: expect.any(Number),
  },
  {
    id: 'A13',
    tried: 'leaves orphans that end at once',
    result: 'no zombie stays',
    heldBy: 'an init that collects them',
    probe: 'limits/zombies',
    expected: 0,
  },
  {
    id: 'A19',
    tried: 'makes a sparse file of 1 TiB',
    result: 'EFBIG',
    heldBy: 'RLIMIT_FSIZE',
    probe: 'limits/sparseFile',
    expected: 'EFBIG',
  },
  {
    id: 'A20',
    tried: 'opens 100,000 files',
    result: 'EMFILE at 1,024',
    heldBy: 'RLIMIT_NOFILE',
    probe: 'limits/openFiles',
    args: { count: 100_000 },
    expected: { opened: about(1024), stopped: 'EMFILE' },
  },
  {
    id: 'A21',
    tried: 'opens 1,000 inotify instances, which the kernel would count against the host’s root',
    result: 'EMFILE at 16',
    heldBy: 'limits of the user namespace',
    probe: 'limits/inotify',
    expected: { opened: 16, stopped: 'EMFILE' },
  },
  {
    id: 'A22',
    tried: 'makes pipes of 1 MiB until no more grows',
    result: 'stopped at 64 MiB, of its own user’s share',
    heldBy: 'a uid range for each sandbox',
    probe: 'limits/pipePages',
    expected: { pipes: 400, grown: expect.toSatisfy((count: number) => count > 0 && count < 100) },
  },
  ...['eventfds', 'epolls', 'memfds'].map((what): ProbeCase => ({
    id: 'A23',
    tried: `opens 100,000 ${what}`,
    result: 'EMFILE at 1,024',
    heldBy: 'RLIMIT_NOFILE',
    probe: `limits/${what}`,
    expected: { opened: about(1024), stopped: 'EMFILE' },
  })),
  {
    id: 'A1',
    tried: 'starts 100 processes',
    result: 'EAGAIN before 64 tasks',
    heldBy: 'pids limit',
    probe: 'limits/children',
    args: { count: 100 },
    expected: { started: expect.toSatisfy((count: number) => count < 64), stopped: 'refused' },
  },
  {
    id: 'A58',
    tried: 'lets a child dump core in /tmp',
    result: 'no core',
    heldBy: 'RLIMIT_CORE',
    probe: 'limits/coreDump',
    expected: { signal: 'SIGABRT', cores: [] },
  },
];
