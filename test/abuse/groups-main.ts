/** Plays the cases that a cgroup decides, each in a sandbox of its own, and prints a line of JSON for each:
 *  `{"tried","version","ms","error"?}`; the last line tells what is left: `{"left":[]}`. A process of its own, on this machine
 *  or in the VM. */

import type { Millis } from '../../core/units.ts';
import { GROUP_CASES, type GroupCase } from './cases/groups.ts';
import { openLab } from './support/lab.ts';
import { proberDirectory } from './support/prober.ts';

export interface GroupResult {
  readonly tried: string;
  readonly version: 'v1' | 'v2';
  readonly ms: Millis;
  readonly error?: string;
}

const lab = await openLab();
const { version } = lab.host.cgroups;
await using prober = await proberDirectory('name: prober');

async function play({ play: run }: GroupCase): Promise<void> {
  await using loaded = await lab.load(prober.path, { handler: 'boxed.default' });
  if (loaded.claim.status !== 200) throw new Error(JSON.stringify(loaded.claim));
  await run(loaded, version);
}

try {
  for (const each of GROUP_CASES) {
    const start = performance.now();
    const outcome = await play(each).then(
      () => ({}),
      (error: unknown) => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
    const result: GroupResult = { tried: each.tried, version, ms: Math.round(performance.now() - start), ...outcome };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  process.stdout.write(`${JSON.stringify({ left: await lab.host.cgroups.list() })}\n`);
} finally {
  await lab[Symbol.asyncDispose]();
}
