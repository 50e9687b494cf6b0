/** Functions that take what they can get and do not end by themselves: those cases of the catalogue that take more than one
 *  call. After each the neighbour answers, and at the end nothing is left. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import type { Stage } from './cases/case.ts';
import { NEIGHBOUR_CASES } from './cases/neighbours.ts';
import { RESOURCE_CASES } from './cases/resources.ts';
import { expectUnharmed, hostState } from './support/host-state.ts';
import { deployProber } from './support/prober.ts';

const X64_ONLY = process.arch === 'x64' ? undefined : 'the probes make system calls by their numbers on x86-64';
const SPEC = 'memory: 128Mi\ncpu: 500m\ntimeout: 2s\nscale: { max: 1 }';

describe.skipIf(skipBecause(notRoot() ?? X64_ONLY))('a hostile function', () => {
  let stage: Stage;
  let platform: TestPlatform;
  const before = hostState();

  beforeAll(async () => {
    platform = await startPlatform();
    stage = {
      platform,
      prober: await deployProber(platform, 'prober', SPEC),
      neighbour: await deployProber(platform, 'neighbour', 'env: { CANARY: canary-of-neighbour }'),
      deploy: (name, spec = SPEC) => deployProber(platform, name, spec),
    };
  }, 120_000);
  afterEach(async () => {
    expect(await stage.neighbour.probe('visibility/signalHostPid', { pid: 1 })).toBe('ok');
  });
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    expectUnharmed(before);
  }, 60_000);

  test.each([...RESOURCE_CASES, ...NEIGHBOUR_CASES])(
    '$id: $tried: $result',
    async ({ play }) => {
      await play(stage);
    },
    60_000,
  );
});
