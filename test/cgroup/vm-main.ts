/** Runs the cases inside the VM and prints a line of JSON for each: `{"name","ms","skipped"?,"error"?}`. */

import type { Millis } from '../../core/units.ts';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { type CgroupCase, cgroupCases } from './cases.ts';
import { placeCases } from './place-cases.ts';

export interface CaseResult {
  readonly name: string;
  readonly ms: Millis;
  readonly skipped?: string;
  readonly error?: string;
}

async function resultOf(each: CgroupCase): Promise<CaseResult> {
  const start = performance.now();
  const outcome = await each.run(manager).catch((error: unknown) => ({
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  }));
  return { name: each.name, ms: Math.round(performance.now() - start), ...outcome };
}

function report(result: CaseResult): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const manager = openCgroups('0000cafe');
await manager.prepare();
for (const each of [...cgroupCases, ...placeCases]) report(await resultOf(each));
await manager.remove();
report({ name: `driver ${manager.version}`, ms: Math.round(performance.now()) });
