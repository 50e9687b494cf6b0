/** A change of one file: from the command to the new code's first reply, and where the time goes. Beside it, what a command
 *  that does nothing costs: node's own start.
 *
 *      npm run bench:deploy [-- --changes 20]
 *
 *  Needs root. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { requireRoot } from '../worker/host.ts';
import { cleanEnvironment } from './support/environment.ts';
import { platformIn } from './support/platform.ts';
import { median, percentile } from './support/statistics.ts';
import { figure, printTable } from './support/table.ts';

const run = promisify(execFile);
const FN = join(import.meta.dirname, '..', 'fn');

const { values } = parseArgs({ options: { changes: { type: 'string', default: '20' } } });
requireRoot();
const home = await mkdtemp(join(tmpdir(), 'fnb-'));
const source = await mkdtemp(join(tmpdir(), 'fnb-source-'));
const command: number[] = [];
const nothing: number[] = [];
const served: number[] = [];
try {
  await using platform = await platformIn(home);
  const env = { ...cleanEnvironment(), FN_HOME: home };
  await writeFile(join(source, 'fn.yaml'), 'name: changing\n');
  for (let change = 0; change <= Number(values.changes); change++) {
    await writeFile(join(source, 'index.mjs'), `export default () => new Response('${change}');\n`);
    const began = performance.now();
    await run(FN, ['deploy', source], { env });
    const deployed = performance.now();
    const text = await (await platform.call('/function/changing')).text();
    const end = performance.now();
    if (text !== String(change)) throw new Error(`change ${change} is not served: ${text}`);
    await run(FN, ['version'], { env });
    if (change === 0) continue; // The first makes the base layer.
    command.push(deployed - began);
    served.push(end - began);
    nothing.push(performance.now() - end);
  }
} finally {
  await rm(home, { recursive: true, force: true });
  await rm(source, { recursive: true, force: true });
}
printTable(
  ['ms', 'p50', 'p90'],
  (
    [
      ['fn deploy, the whole command', command],
      ['until the new code has answered', served],
      ['fn version, a command that does nothing', nothing],
    ] as const
  ).map(([what, samples]) => [what, figure(median(samples)), figure(percentile(samples, 0.9))]),
);
console.log(
  `\nGoal: 300 ms. The command that does nothing is ${figure(median(nothing) / median(command))} of a deploy.`,
);
