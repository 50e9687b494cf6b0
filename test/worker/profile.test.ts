import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const input = {
  rootfs: '/base',
  task: '/sandboxes/0/task',
  cgroupsPath: '/fn-0/0',
  hostId: 300_000,
  memory: 256 * 2 ** 20,
  nodeFlags: [],
  arch: 'x64',
};

/** The whole profile is a security boundary: a change of any line of it must be seen and meant. */
test('the profile is the one that was reviewed', () => {
  expect(sandboxProfile(input)).toMatchSnapshot();
});

test('temporary file systems stay below the memory limit together, however small it is', () => {
  const { mounts } = sandboxProfile({ ...input, memory: 64 * 2 ** 20 }) as { mounts: { options: string[] }[] };
  const sizes = mounts.flatMap(({ options }) => options).flatMap((option) => /^size=(\d+)$/.exec(option)?.[1] ?? []);
  expect(sizes.reduce((sum, size) => sum + Number(size), 0)).toBeLessThanOrEqual(32 * 2 ** 20);
});

/** In a user namespace that is nobody's: were it not to notice, it would limit that one. */
test.skipIf(skipBecause(notRoot()))('limits are not set in any other user namespace than the sandbox’s', () => {
  const { hooks } = sandboxProfile(input) as { hooks: { createContainer: { path: string; args: string[] }[] } };
  const [{ path, args } = { path: '', args: [] }] = hooks.createContainer;
  const limit = 'cat /proc/sys/user/max_inotify_instances';
  const inOther = (script: string, ...words: readonly string[]) =>
    spawnSync('unshare', ['--map-root-user', 'sh', '-c', script, 'sh', ...words], { input: '{}\n', encoding: 'utf8' });
  const before = inOther(limit).stdout;
  const { stdout } = inOther(`if "$@"; then echo set; else echo refused; fi; ${limit}`, path, ...args.slice(1));
  expect(stdout).toBe(`refused\n${before}`);
});
