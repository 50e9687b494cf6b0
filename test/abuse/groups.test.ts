/** The cases that a cgroup decides: on this machine, whatever its cgroups are, and on v2 alone inside a virtual machine, with
 *  the worker's code, crun and the whole profile. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { notRoot, skipBecause } from '../support/requires.ts';
import { runInVm, vmUnavailable } from '../vm/vm.ts';
import { GROUP_CASES } from './cases/groups.ts';
import type { GroupResult } from './groups-main.ts';

const X64_ONLY = process.arch === 'x64' ? undefined : 'the probes make system calls by their numbers on x86-64';
const MAIN = 'test/abuse/groups-main.ts';
/** Emulated beside other tests it takes up to a minute. */
const WITHIN = 240_000;

async function here(): Promise<string> {
  const options = { cwd: join(import.meta.dirname, '../..'), timeout: WITHIN };
  return (await promisify(execFile)(process.execPath, [MAIN], options)).stdout;
}

async function inVm(): Promise<string> {
  const { stdout, console, exitCode } = await runInVm(`node ${MAIN}`, {
    project: ['core', 'worker', 'runtime/node', 'test/abuse', 'test/support', 'package.json'],
    packages: ['koffi', 'pino', 'zod', 'yaml'],
    within: WITHIN,
  });
  if (exitCode !== 0) throw new Error(`${stdout}\n${console.slice(-4000)}`);
  return stdout;
}

describe.each([
  { where: 'on this machine', missing: notRoot() ?? X64_ONLY, run: here, version: expect.stringMatching(/^v[12]$/) },
  { where: 'on cgroup v2, in a VM', missing: await vmUnavailable(), run: inVm, version: 'v2' },
])('a hostile function $where', ({ missing, run, version }) => {
  describe.skipIf(skipBecause(missing))('in its cgroup', () => {
    const results = new Map<string, GroupResult>();
    let left: unknown;

    beforeAll(async () => {
      for (const line of (await run()).split('\n').filter(Boolean)) {
        const result = JSON.parse(line) as GroupResult | { left: string[] };
        if ('left' in result) left = result.left;
        else results.set(result.tried, result);
      }
    }, WITHIN);

    test.each(GROUP_CASES)('$id: $tried: $result', ({ tried }) => {
      expect(results.get(tried)).toEqual({ tried, version, ms: expect.any(Number) });
    });

    test('leaves no group behind', () => {
      expect(left).toEqual([]);
    });
  });
});
