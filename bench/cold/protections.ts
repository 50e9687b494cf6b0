/** What each protection costs a start: containers with our whole profile, which take turns with containers that lack one
 *  item of it. The node server in them is the baselines' and not ours, so the difference is the runtime's and the kernel's
 *  work. */

import type { Millis } from '../../core/units.ts';
import type { Lab } from '../cold.ts';
import { Baselines } from '../support/containers.ts';
import { median } from '../support/statistics.ts';
import { figure, printTable, ratio } from '../support/table.ts';
import { ITEMS } from './profiles.ts';

const ROUNDS = 9;
const WITHIN: Millis = 45_000;

export async function measureProtections(lab: Lab): Promise<void> {
  await using containers = await Baselines.open(
    lab.home,
    Object.keys(ITEMS).map((item) => `crun ${item}`),
  );
  const end = performance.now() + WITHIN;
  let rounds = 0;
  for (; rounds < ROUNDS && performance.now() < end; rounds++) {
    lab.signal.throwIfAborted();
    await containers.turn();
  }
  const times = new Map(containers.series().map(({ name, times: all }) => [name, all]));
  const of = (name: string): readonly Millis[] => times.get(name) ?? [];
  const [whole, plain] = [of('crun nothing'), of('crun run node')];
  // A round's containers started within a second of each other: their differences and ratios have less noise than their times.
  const cost = (more: readonly Millis[], less: readonly Millis[]): string =>
    figure(median(more.map((ms, round) => ms - (less[round] ?? Number.NaN))));
  const toPlain = (ms: readonly Millis[]): string =>
    ratio(median(ms.map((one, round) => one / (plain[round] ?? Number.NaN))), 1);
  printTable(
    [`a container's start, ${rounds} rounds`, 'p50 ms', 'costs ms', 'to crun + node'],
    [
      ...Object.entries(ITEMS).map(([item, { name }]) => {
        const ms = of(`crun ${item}`);
        const [title, costs] = item === 'nothing' ? [name, cost(ms, plain)] : [`without its ${name}`, cost(whole, ms)];
        return [title, figure(median(ms)), costs, toPlain(ms)];
      }),
      ['crun run node, its own configuration', figure(median(plain)), '', toPlain(plain)],
    ],
  );
}
