import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { notRoot, skipBecause } from '../support/requires.ts';

const MAIN = join(import.meta.dirname, 'refill-main.ts');

test.skipIf(skipBecause(notRoot()))(
  'a pool is filled again after every claim, however soon one follows the other',
  async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [MAIN], { timeout: 80_000 });
    expect(JSON.parse(stdout)).toEqual({ taken: 3 });
  },
  90_000,
);
