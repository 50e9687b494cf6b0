import { expect, test } from 'vitest';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';

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
