/** The VM itself: what a test that uses it relies on. */

import { describe, expect, it } from 'vitest';
import { skipBecause } from '../support/requires.ts';
import { runInVm, vmUnavailable } from './vm.ts';

describe.skipIf(skipBecause(await vmUnavailable()))('the VM', () => {
  it('runs a script in the project beside node, and hands back output, errors and exit code', async () => {
    const script = `
      node -e 'import("/fn/core/units.ts").then(({ parseBytes }) => console.log(parseBytes("1Ki")))'
      cat /sys/fs/cgroup/cgroup.controllers
      echo trouble >&2
      exit 3`;
    const { stdout, console, exitCode } = await runInVm(script, { project: ['core'] });
    const [bytes, controllers = ''] = stdout.split('\n');
    expect(bytes).toBe('1024');
    expect(controllers.split(' ')).toEqual(expect.arrayContaining(['cpu', 'cpuset', 'io', 'memory', 'pids']));
    expect(console).toContain('trouble');
    expect(exitCode).toBe(3);
  }, 130_000);

  it('fails with what was printed when the script does not end in time', async () => {
    await expect(runInVm('echo begun; sleep 1000', { project: [], packages: [], within: 3000 })).rejects.toThrow(
      /did not finish its script within 3000 ms/,
    );
  });
});
