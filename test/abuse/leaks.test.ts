/** Claiming and destroying sandboxes leaves nothing: no process, cgroup, mount, namespace, network interface, descriptor,
 *  socket or file more after many than after a few, and none at all in the end. FN_LEAK_RUNS=1000 for the long run. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { notRoot, skipBecause } from '../support/requires.ts';
import type { Report } from './leaks-main.ts';

const RUNS = Number(process.env['FN_LEAK_RUNS'] ?? 24);
const MAIN = join(import.meta.dirname, 'leaks-main.ts');

describe.skipIf(skipBecause(notRoot())).each(['crun', 'runc'])('under %s', (driver) => {
  test(
    `${RUNS} claims and destroys in a row leave nothing`,
    async () => {
      const { stdout } = await promisify(execFile)(process.execPath, [MAIN, String(RUNS)], {
        env: { PATH: process.env['PATH'], FN_DRIVER: driver },
        timeout: 20_000 + RUNS * 2000,
      });
      const { few, all, closed } = JSON.parse(stdout) as Report;
      expect(all).toEqual(few);
      // The full pool is seen: what is compared is not two times nothing.
      expect(few).toMatchObject({ namespaces: 14, processes: { length: 4 } });
      expect(few.sockets).toContainEqual(expect.stringMatching(/run\/#\.sock$/));
      expect(few.mounts.filter((path) => !/sandboxes(\/network\/router)?$/.test(path))).toEqual([]);
      expect(closed).toMatchObject({ mounts: [], cgroups: [], processes: [], namespaces: 0, sockets: [], files: [] });
      expect(closed.network).toEqual(['lo']);
      expect(closed.descriptors.filter((name) => /log$|cgroup|net:/.test(name))).toEqual([]);
    },
    60_000 + RUNS * 2000,
  );
});
