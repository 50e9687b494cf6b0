import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { raiseInotifyLimits } from '../../worker/host.ts';
import { testDirectory } from '../support/directory.ts';

test('the machine’s root may have the inotify of all sandboxes, and no limit is lowered for it', async () => {
  await using settings = await testDirectory();
  await settings.write({ max_user_instances: '128\n', max_user_watches: '999999999\n' });
  raiseInotifyLimits(2000, silentLog, settings.path);
  const now = async (name: string): Promise<number> => Number(await readFile(join(settings.path, name), 'utf8'));
  expect(await now('max_user_instances')).toBe(2000 * 16 + 128);
  expect(await now('max_user_watches')).toBe(999_999_999);
});

test('a machine that lets nobody raise them runs all the same', () => {
  expect(() => {
    raiseInotifyLimits(2000, silentLog, '/nowhere');
  }).not.toThrow();
});
