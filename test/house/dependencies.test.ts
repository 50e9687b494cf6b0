import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

const read = (path: string): Promise<string> => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');

test('every dependency has a line that says what it replaces, and no line is left over', async () => {
  const manifest = JSON.parse(await read('package.json')) as Record<string, Record<string, string>>;
  const wanted = [...Object.keys(manifest['dependencies'] ?? {}), ...Object.keys(manifest['devDependencies'] ?? {})];
  const listed = [...(await read('docs/decisions/001-dependencies.md')).matchAll(/^\| `([^`]+)`/gm)].map(
    (row) => row[1],
  );
  expect(new Set(listed)).toEqual(new Set(wanted));
});
