/** What a function finds in its sandbox, under both OCI runtimes: each case of the catalogue that is one probe. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { notRoot, skipBecause } from '../support/requires.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { FILE_CASES } from './cases/files.ts';
import { KERNEL_CASES } from './cases/kernel.ts';
import { LIMIT_CASES } from './cases/limits.ts';
import { VISIBILITY_CASES } from './cases/visibility.ts';
import { expectUnharmed, hostState } from './support/host-state.ts';
import { deployProber, type Prober } from './support/prober.ts';

const CASES = [...KERNEL_CASES, ...FILE_CASES, ...VISIBILITY_CASES, ...LIMIT_CASES];
const X64_ONLY = process.arch === 'x64' ? undefined : 'the probes make system calls by their numbers on x86-64';

describe.skipIf(skipBecause(notRoot() ?? X64_ONLY)).each(['crun', 'runc'])('a hostile function under %s', (driver) => {
  let platform: TestPlatform;
  let prober: Prober;
  let neighbour: Prober;
  const before = hostState();

  beforeAll(async () => {
    platform = await startPlatform({ FN_DRIVER: driver });
    prober = await deployProber(
      platform,
      'prober',
      'scale: { max: 1 }\ntimeout: 20s\nenv: { CANARY: canary-of-prober }',
    );
    neighbour = await deployProber(platform, 'neighbour', 'env: { CANARY: canary-of-neighbour }');
  }, 120_000);
  afterEach(async () => {
    expect(await neighbour.probe('visibility/signalHostPid', { pid: 1 })).toBe('ok');
  });
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    expectUnharmed(before);
  }, 60_000);

  test.each(CASES)('$id: $tried: $result', async ({ probe, args, expected }) => {
    expect(await prober.probe(probe, args)).toEqual(expected);
  });
});
