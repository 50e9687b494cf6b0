/** Cold starts: from the request to its first byte when no instance of the function runs.
 *
 *      npm run bench:cold [-- claimed burst memory protections] [-- --functions 100] [-- --rounds 3]
 *
 *  Without names, all parts: five minutes on a quiet machine, and hardly more on a busy one, where each part then measures
 *  less and says how much. Needs root. Every function is distinct (an image, a layer and a revision of its own) and has no
 *  instance when it is called; baselines take turns with us, in the same run. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { requireRoot } from '../worker/host.ts';
import { measureBursts } from './cold/bursts.ts';
import { measureMemory } from './cold/memory.ts';
import { measureProtections } from './cold/protections.ts';
import { measureStarts } from './cold/starts.ts';
import { deployMany, platformIn } from './support/platform.ts';
import { printNoise } from './support/quiet.ts';

export interface Lab {
  /** FN_HOME of every platform here: what is deployed once stays deployed. */
  readonly home: string;
  readonly functions: readonly string[];
  readonly rounds: number;
  /** Somebody wants it to end: what loops looks here, and what is open is disposed of. */
  readonly signal: AbortSignal;
}

const PARTS: Readonly<Record<string, (lab: Lab) => Promise<void>>> = {
  claimed: measureStarts,
  burst: measureBursts,
  memory: measureMemory,
  protections: measureProtections,
};

/** Longer than a burst takes: the node processes beside it are not stopped while others start either. */
const IDLE = '5s';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { functions: { type: 'string', default: '100' }, rounds: { type: 'string', default: '3' } },
});
const unknown = positionals.filter((part) => !Object.hasOwn(PARTS, part));
if (unknown.length > 0) throw new Error(`no part ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`);

requireRoot();
const interruption = new AbortController();
const lab: Lab = {
  home: await mkdtemp(join(tmpdir(), 'fnc-')),
  functions: Array.from({ length: Number(values.functions) }, (_, index) => `f${index}`),
  rounds: Number(values.rounds),
  signal: interruption.signal,
};
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort(new Error(name)));
try {
  await deployAll(lab);
  for (const [name, measure] of Object.entries(PARTS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const began = performance.now();
    try {
      await measure(lab);
    } catch (error) {
      lab.signal.throwIfAborted();
      console.error(error); // The other parts are measured all the same.
      process.exitCode = 1;
    }
    printNoise();
    console.error(`${name}: ${Math.round((performance.now() - began) / 1000)} s`);
  }
} catch (error) {
  console.error(error); // Whole, with what went wrong while cleaning up.
  process.exitCode = 1;
} finally {
  await rm(lab.home, { recursive: true, force: true });
}

async function deployAll({ home, functions, signal }: Lab): Promise<void> {
  const began = performance.now();
  await using platform = await platformIn(home, { FN_POOL: '0' });
  await deployMany(platform, home, functions, IDLE, signal);
  console.error(`${functions.length} functions deployed: ${Math.round((performance.now() - began) / 1000)} s`);
}
