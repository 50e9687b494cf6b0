import { describe, expect, it } from 'vitest';
import { Hall, mayWait } from '../../../gateway/slots/hall.ts';
import { Rows, sharedRows } from '../../../gateway/slots/rows.ts';
import { eventually } from '../../support/eventually.ts';
import { startPlatform } from '../support/platform.ts';
import { randomSource } from '../support/random.ts';

const LIMITS = { each: 50, all: 100 };

describe('whether a request may wait', () => {
  it('depends on the room of its function alone, while there is place for all', () => {
    expect(mayWait(49, 99, 3, LIMITS)).toBe(true);
    expect(mayWait(50, 50, 1, LIMITS)).toBe(false);
  });

  it('depends on its equal share once there is none', () => {
    expect(mayWait(24, 100, 4, LIMITS)).toBe(true);
    expect(mayWait(25, 100, 4, LIMITS)).toBe(false);
    expect(mayWait(0, 100, 3, LIMITS)).toBe(true);
    expect(mayWait(0, 5000, 1000, LIMITS)).toBe(true); // At least one of each.
  });
});

describe('the hall', () => {
  const limits = { each: 1000, all: 100 };

  it('never refuses a function below its share, and stays within its bound', () => {
    const random = randomSource(4);
    for (let run = 0; run < 20; run++) {
      const rows = new Rows(sharedRows(1));
      const hall = new Hall(rows, limits);
      const functions = 2 + random.below(30);
      const rooms = Array.from({ length: functions }, (_, n) => rows.open(`waiting for f${n}`).at);
      const waiting = rooms.map(() => 0);
      for (let step = 0; step < 5000; step++) {
        const at = random.below(1 + random.below(1 + random.below(functions))); // Some want far more than others.
        if (random.chance(0.3) && waiting[at]! > 0) {
          hall.leave(rooms[at]!);
          waiting[at]!--;
          continue;
        }
        const busy = waiting.filter((count, other) => count > 0 || other === at).length;
        const isBelow = waiting[at]! < Math.floor(limits.all / busy);
        const entered = hall.enter(rooms[at]!);
        if (entered) waiting[at]!++;
        expect(entered || !isBelow).toBe(true);
        const sum = waiting.reduce((a, b) => a + b, 0);
        expect(sum).toBeLessThanOrEqual(limits.all * (1 + Math.log(functions)) + functions);
      }
    }
  });

  it('is empty again when everyone has left', () => {
    const rows = new Rows(sharedRows(1));
    const hall = new Hall(rows, { each: 2, all: 2 });
    const [a, b] = [rows.open('waiting for a').at, rows.open('waiting for b').at];
    for (let round = 0; round < 3; round++) {
      expect([hall.enter(a), hall.enter(a), hall.enter(a), hall.enter(b), hall.enter(b)]).toEqual([
        true,
        true,
        false,
        true,
        false,
      ]);
      for (const room of [a, a, b]) hall.leave(room);
    }
  });
});

it('a function that nobody waits for is served although another has filled the gateway', async () => {
  await using platform = await startPlatform({ FN_WAITING_LIMIT: '8', FN_WAITING_TOTAL: '8' });
  platform.worker.acquire = () => new Promise(() => {});
  await platform.deploy({ name: 'greedy' });
  await platform.deploy({ name: 'modest' });
  const abort = new AbortController();
  const ask = async (name: string): Promise<number | undefined> =>
    (await fetch(`${platform.url}/function/${name}`, { signal: abort.signal }).catch(() => undefined))?.status;
  const waiting = (): number => (platform.gateway.facts() as { waiting: number }).waiting;
  let refused = 0;
  const greedy = Array.from({ length: 12 }, async () => {
    const status = await ask('greedy');
    if (status === 429) refused++;
    return status;
  });
  await eventually(() => expect([waiting(), refused]).toEqual([8, 4]));
  const modest = ask('modest');
  await eventually(() => expect(waiting()).toBe(9));
  abort.abort();
  const answers = await Promise.all([...greedy, modest]);
  expect(answers.filter((status) => status === 429)).toHaveLength(4);
  expect(answers.at(-1)).toBeUndefined();
});
