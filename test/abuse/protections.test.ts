/** Each item of the sandbox profile is there for something: with it a probe is held back, without it the same probe gets
 *  through. Whoever removes an item, or writes it so that it has no effect, sees it here. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import { itemsLeft, NOT_TAKEN_AWAY } from './cases/profile-items.ts';
import type { Profile } from './cases/protection.ts';
import { PROTECTIONS } from './cases/protections.ts';
import type { ProtectionResult } from './protections-main.ts';

const X64_ONLY = process.arch === 'x64' ? undefined : 'the probes make system calls by their numbers on x86-64';
const MAIN = join(import.meta.dirname, 'protections-main.ts');

test('no item of the profile is without a probe that fails without it', () => {
  const input = { rootfs: '/', task: '/', cgroupsPath: '/', hostId: 1, memory: 2 ** 28, nodeFlags: [], arch: 'x64' };
  const left = itemsLeft(() => sandboxProfile(input) as Profile);
  expect(left.toSorted()).toEqual(Object.keys(NOT_TAKEN_AWAY).toSorted());
});

describe.skipIf(skipBecause(notRoot() ?? X64_ONLY))('a function is held back', () => {
  const results = new Map<string, ProtectionResult>();

  beforeAll(async () => {
    const { stdout } = await promisify(execFile)('unshare', ['--mount', process.execPath, MAIN], {
      timeout: 110_000,
    });
    for (const line of stdout.split('\n').filter(Boolean)) {
      const result = JSON.parse(line) as ProtectionResult;
      results.set(result.name, result);
    }
  }, 120_000);

  test.each(PROTECTIONS)('by $name, and without it is not', ({ name }) => {
    const result = results.get(name);
    expect(result).toMatchObject({ held: true, open: true });
  });
});
