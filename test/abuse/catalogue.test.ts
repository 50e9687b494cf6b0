/** The catalogue is complete: every number of it is a case, or docs/abuse.md says where it is tried or why it is not. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { catalogue, numbersOf } from './cases/catalogue.ts';

const LAST = 66;

test('every number is tried, or its absence explained', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/abuse.md'), 'utf8');
  const prose = page.slice(page.indexOf('## Tried elsewhere'));
  const told = [...prose.matchAll(/A\d+/g)].flatMap(([id]) => numbersOf(id));
  const known = new Set([...catalogue().flatMap(({ id }) => numbersOf(id)), ...told]);
  const missing = Array.from({ length: LAST }, (_, n) => n + 1).filter((number) => !known.has(number));
  expect(missing).toEqual([]);
});

test('no case is listed twice', () => {
  const lines = catalogue().map(({ id, tried, test: name }) => `${id} ${tried} ${name}`);
  expect(lines.filter((line, at) => lines.indexOf(line) !== at)).toEqual([]);
});
