import { spawnSync } from 'node:child_process';
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { leanNode } from '../../builder/node-binary.ts';
import { packEntries } from '../../builder/oci/layer.ts';
import { testDirectory } from '../support/directory.ts';

const MIB = 2 ** 20;

/** Memory of its own of a node that has just started. */
function memoryOf(node: string): number {
  const script = "console.log(/^RssAnon:\\s+(\\d+)/m.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[1])";
  const { stdout, stderr } = spawnSync(node, ['--eval', script], { env: {}, encoding: 'utf8', timeout: 20_000 });
  expect(stderr).toBe('');
  return Number(stdout) * 1024;
}

const change = await leanNode(process.execPath);

test.skipIf(!change)(
  'node without its detector of deadlocks takes 1 MiB less (requires a node with symbols)',
  async () => {
    await using home = await testDirectory();
    const path = join(home.path, 'node');
    await copyFile(process.execPath, path);
    await using file = await open(path, 'r+');
    await file.write(change?.bytes ?? Buffer.alloc(0), 0, undefined, change?.at);
    await file.close();
    expect(memoryOf(process.execPath) - memoryOf(path)).toBeGreaterThan(0.7 * MIB);
    expect(await leanNode(path)).toBeUndefined();
  },
);

test.each([
  ['a text', 'no program at all'],
  ['the beginning of a program', Buffer.concat([Buffer.from('\x7fELF\x02\x01'), Buffer.alloc(58)])],
  ['nothing', ''],
])('%s stays as it is', async (_, content) => {
  await using home = await testDirectory();
  await home.write({ node: content });
  expect(await leanNode(join(home.path, 'node'))).toBeUndefined();
});

test.each([1000, 3 * MIB])('a change of a file of %i bytes is in the layer, and not in the file', async (size) => {
  await using home = await testDirectory();
  const file = join(home.path, 'data');
  await home.write({ data: Buffer.alloc(size, 1) });
  const at = Math.min(MIB, size) - 2; // The larger one is read in pieces of 1 MiB.
  const entries = [
    {
      type: 'file',
      path: 'data',
      executable: false,
      content: { file, size, change: { at, bytes: Buffer.alloc(4, 7) } },
    },
  ] as const;
  const pieces: Uint8Array[] = [];
  for await (const piece of packEntries(entries)) pieces.push(piece);
  const archive = Buffer.concat(pieces);
  const expected = Buffer.alloc(size, 1).fill(7, at, Math.min(at + 4, size));
  expect(archive.subarray(512, 512 + size).equals(expected)).toBe(true);
});
