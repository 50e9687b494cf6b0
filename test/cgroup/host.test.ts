/** The cases on this machine's own kernel, with whichever driver fits it, below a parent group of the test's own. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import { cgroupCases } from './cases.ts';

describe.skipIf(skipBecause(notRoot()))('cgroups of this machine', () => {
  const manager = openCgroups(randomBytes(4).toString('hex'));
  beforeAll(() => manager.prepare());
  afterAll(async () => {
    for (const id of await manager.list()) {
      const group = manager.open(id);
      await group.kill();
      await group.remove();
    }
    await manager.remove();
  });

  it.for(cgroupCases)('$name', async (each, { skip }) => {
    const outcome = await each.run(manager);
    if (skipBecause(outcome?.skipped)) skip(outcome?.skipped);
    expect(await manager.list(), 'groups left behind').toEqual([]);
  });
});
