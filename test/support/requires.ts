/** What a test needs of the machine. Missing, the test is skipped and the reason printed; on CI it is an error, or the tests
 *  that matter most would silently not run. */

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export function skipBecause(reason: string | undefined): boolean {
  if (reason === undefined) return false;
  if (process.env['CI']) throw new Error(`CI must have this: ${reason}`);
  process.stderr.write(`skipped: ${reason}\n`);
  return true;
}

export function notRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'needs root (sudo npm test)';
}

export function lacks(program: string): string | undefined {
  const found = (process.env['PATH'] ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)));
  return found ? undefined : `needs ${program}`;
}
