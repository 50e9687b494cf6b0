/** The cases on cgroup v2, inside a virtual machine: one boot, one line of result for each. */

import { beforeAll, describe, expect, it } from 'vitest';
import { skipBecause } from '../support/requires.ts';
import { runInVm, type VmResult, vmUnavailable } from '../vm/vm.ts';
import { cgroupCases } from './cases.ts';
import { placeCases, UNSHARE } from './place-cases.ts';
import type { CaseResult } from './vm-main.ts';

describe.skipIf(skipBecause(await vmUnavailable()))('cgroup v2 in a VM', () => {
  const results = new Map<string, CaseResult>();
  let run: VmResult;

  beforeAll(async () => {
    run = await runInVm('node test/cgroup/vm-main.ts', {
      project: ['core', 'worker', 'test/cgroup', 'test/support/eventually.ts', 'package.json'],
      programs: [UNSHARE],
    });
    for (const line of run.stdout.split('\n').filter(Boolean)) {
      const result = JSON.parse(line) as CaseResult;
      results.set(result.name, result);
    }
  }, 150_000);

  it('finds the v2 driver and leaves no group behind', () => {
    expect(run).toMatchObject({ exitCode: 0 });
    expect([...results.keys()]).toContain('driver v2');
  });

  it.for([...cgroupCases, ...placeCases])('$name', ({ name }, { skip }) => {
    const result = results.get(name);
    if (skipBecause(result?.skipped)) skip(result?.skipped);
    expect(result).toEqual({ name, ms: expect.any(Number) });
  });
});
