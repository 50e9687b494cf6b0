/** Runs the cases inside the VM and prints a line of JSON for each: `{"name","skipped"?,"error"?}`. */

import { openCgroups } from '../../worker/cgroup/open.ts';
import { type CgroupCase, cgroupCases } from './cases.ts';
import { placeCases } from './place-cases.ts';

export interface CaseResult {
  readonly name: string;
  readonly skipped?: string;
  readonly error?: string;
}

async function resultOf(each: CgroupCase): Promise<CaseResult> {
  try {
    return { name: each.name, ...(await each.run(manager)) };
  } catch (error) {
    return { name: each.name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

const manager = openCgroups('0000cafe');
await manager.prepare();
for (const each of [...cgroupCases, ...placeCases]) process.stdout.write(`${JSON.stringify(await resultOf(each))}\n`);
await manager.remove();
process.stdout.write(`${JSON.stringify({ name: `driver ${manager.version}` })}\n`);
