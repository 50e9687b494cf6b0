/** What of the host no function may change: compared before and after. */

import { createHash } from 'node:crypto';
import { readFileSync, watch } from 'node:fs';
import { expect } from 'vitest';

const FILES = ['/usr/bin/crun', '/usr/sbin/runc', '/etc/passwd', '/proc/sys/kernel/core_pattern', process.execPath];

export function hostState(): Readonly<Record<string, string>> {
  return Object.fromEntries(FILES.map((path) => [path, hashOf(path)]));
}

export function expectUnharmed(before: Readonly<Record<string, string>>): void {
  expect(hostState()).toEqual(before);
  watch('/').close(); // Throws when root has no inotify instance left.
}

function hashOf(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return 'not there';
  }
}
