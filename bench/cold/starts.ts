/** One start at a time, on a machine that does nothing else: claimed from a pool, made anew without one, thawed; beside node
 *  on the host and in a plain container, which take turns with us. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../../core/clock.ts';
import type { Millis } from '../../core/units.ts';
import type { Lab } from '../cold.ts';
import { call, startOf, type Timed } from '../support/call.ts';
import { Baselines } from '../support/containers.ts';
import { address, platformIn, poolOf, settled, type TestPlatform } from '../support/platform.ts';
import { quiet } from '../support/quiet.ts';
import { median, percentile } from '../support/statistics.ts';
import { figure, printTable, ratio } from '../support/table.ts';

/** Each baseline has its turn after so many of ours. */
const TURN_EVERY = 5;
const THAWS = 50;
/** Without a pool, each start is a container's. */
const COLD = 40;
/** On a busy machine each series ends here, with what it has. */
const SERIES_WITHIN: Millis = 60_000;
const FREEZE_AFTER: Millis = 150;

interface Series {
  readonly name: string;
  readonly times: readonly Millis[];
}

export async function measureStarts(lab: Lab): Promise<void> {
  await using baselines = await Baselines.open(lab.home);
  const claimed = await startAll(lab, 100, 'claimed', baselines);
  const cold = await startAll({ ...lab, functions: lab.functions.slice(0, COLD) }, 0, 'cold', baselines);
  const thawed = await thawAll(lab);

  const ours: Series[] = [
    { name: 'fn, from the pool', times: claimed.map(({ first }) => first) },
    { name: 'fn, frozen instance', times: thawed.map(({ first }) => first) },
    { name: 'fn, no pool', times: cold.map(({ first }) => first) },
  ];
  const others = baselines.series();
  const crun = median(others.find(({ name }) => name === 'crun run node')?.times ?? []);
  printTable(
    ['start to first byte, ms', 'n', 'p50', 'p90', 'p99', 'p50 to crun + node'],
    [...ours, ...others].map(({ name, times }) => [
      name,
      String(times.length),
      ...[0.5, 0.9, 0.99].map((share) => figure(percentile(times, share))),
      ratio(median(times), crun),
    ]),
  );
  console.log(`\nOf these, connecting to the gateway takes ${figure(median(claimed.map((one) => one.connect)))} ms.`);
  for (const missing of baselines.missing) console.log(`Not measured: ${missing}.`);
}

/** Calls every function once, each from zero. */
async function startAll(lab: Lab, pool: number, kind: string, baselines: Baselines): Promise<Timed[]> {
  await using platform = await platformIn(lab.home, { ...poolOf(pool), FN_FREEZE_AFTER_MS: '0' });
  const size = Math.min(pool, lab.functions.length);
  await settled(platform, 0, size);
  const replies: Timed[] = [];
  const end = performance.now() + SERIES_WITHIN;
  for (const [index, name] of lab.functions.entries()) {
    lab.signal.throwIfAborted();
    if (performance.now() > end) break;
    await quiet();
    const reply = await call(address(platform), `/function/${name}`);
    if (reply.body !== name || startOf(reply).kind !== kind) {
      throw new Error(`${name}: ${reply.status} ${startOf(reply).kind}, expected ${kind}`);
    }
    replies.push(reply);
    if (index % TURN_EVERY === 0) await baselines.turn();
  }
  if (kind === 'claimed') await printPhases(platform, replies);
  return replies;
}

interface ReadyLine {
  readonly msg: string;
  readonly ms: Millis;
  readonly phases?: Readonly<Record<string, Millis>>;
}

/** Where the time of a claimed start goes, from the reply's header and the worker's log. */
async function printPhases(platform: TestPlatform, replies: readonly Timed[]): Promise<void> {
  const log = await readFile(join(platform.config.paths.logs, 'platform', 'worker.log'), 'utf8');
  const ready = log
    .split('\n')
    .filter((line) => line.includes('"instance ready"'))
    .map((line) => JSON.parse(line) as ReadyLine)
    .slice(-replies.length);
  const phase = (name: string): number => median(ready.map(({ phases }) => phases?.[name] ?? Number.NaN));
  const worker = median(ready.map(({ ms }) => ms));
  const wait = median(replies.map((reply) => startOf(reply).ms));
  const all = median(replies.map(({ first }) => first));
  const connect = median(replies.map((reply) => reply.connect));
  printTable(
    ['a claimed start, median ms', 'ms'],
    [
      ['client connects', figure(connect)],
      ['gateway: request to instance (X-Fn-Start)', figure(wait)],
      ['  worker: request to ready', figure(worker)],
      ['    mounts the code', figure(phase('mount'))],
      ['    claims, until the reply', figure(phase('claim'))],
      ['      until the limits are written too', figure(phase('limits'))],
      ['      in the sandbox: claim read to handler loaded', figure(phase('handler'))],
      ['  there and back, gateway and worker', figure(wait - worker)],
      ['the first invocation', figure(all - wait - connect)],
      ['all', figure(all)],
    ],
  );
}

/** The first call after the freezer stopped an instance. */
async function thawAll(lab: Lab): Promise<Timed[]> {
  const settings = { ...poolOf(4), FN_FREEZE_AFTER_MS: String(FREEZE_AFTER) };
  await using platform = await platformIn(lab.home, settings);
  const [name = ''] = lab.functions;
  const replies: Timed[] = [];
  for (let tries = 0; replies.length < THAWS && tries < 2 * THAWS; tries++) {
    lab.signal.throwIfAborted();
    await sleep(2 * FREEZE_AFTER);
    await quiet(200);
    const reply = await call(address(platform), `/function/${name}`);
    if (startOf(reply).kind === 'thawed') replies.push(reply);
  }
  return replies;
}
