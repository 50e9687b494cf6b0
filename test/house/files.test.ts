import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['core', 'gateway', 'builder', 'worker', 'controller', 'runtime', 'setup', 'cli', 'web', 'bench'];

async function sources(): Promise<{ file: string; text: string }[]> {
  const found = await Promise.all(
    FOLDERS.map(async (folder) => {
      const names = await readdir(join(ROOT, folder), { recursive: true }).catch(() => []);
      return names
        .filter((name) => /\.(ts|mjs)$/.test(name) && !name.includes('node_modules'))
        .map((name) => join(folder, name));
    }),
  );
  const files = found.flat().filter((file) => !file.startsWith('cli/templates/'));
  return Promise.all(files.map(async (file) => ({ file, text: await readFile(join(ROOT, file), 'utf8') })));
}

test('every source file opens with why it exists', async () => {
  const silent = (await sources()).filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text)).map(({ file }) => file);
  expect(silent).toEqual([]);
});

test('no file is so long that it must hold a second concept', async () => {
  const long = (await sources())
    .map(({ file, text }) => ({ file, lines: text.split('\n').length }))
    .filter(({ lines }) => lines > 500);
  expect(long).toEqual([]);
});
