import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { STARTS_PER_CPU } from '../../worker/pool.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const MAIN = join(import.meta.dirname, 'burst-main.ts');

test.skipIf(skipBecause(notRoot()))(
  'a burst is made a few at a time, first come first served',
  async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [MAIN], { timeout: 90_000 });
    const { asked, began, most } = JSON.parse(stdout) as { asked: string[]; began: string[]; most: number };
    expect(began).toEqual(asked);
    expect(most).toBeLessThanOrEqual(STARTS_PER_CPU * availableParallelism());
    expect(most).toBeGreaterThan(1);
  },
  100_000,
);
