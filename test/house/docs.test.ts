import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as prettier from 'prettier';
import { describe, expect, test } from 'vitest';
import { TABLES } from '../support/doc-tables.ts';

const BEGIN = '<!-- made from the code: UPDATE_DOCS=1 npm test -- test/house/docs.test.ts -->';
const END = '<!-- end -->';

describe('the reference lists exactly what the code has', () => {
  test.each(Object.entries(TABLES))('docs/%s', async (file, render) => {
    const path = fileURLToPath(new URL(`../../docs/${file}`, import.meta.url));
    const text = await readFile(path, 'utf8');
    const [before, after] = [text.indexOf(BEGIN), text.indexOf(END)];
    expect(before, 'the page has a place for the table').toBeGreaterThan(-1);
    const wanted = await prettier.format(
      `${text.slice(0, before)}${BEGIN}\n\n${await render()}\n\n${text.slice(after)}`,
      { ...(await prettier.resolveConfig(path)), parser: 'markdown' },
    );
    if (process.env['UPDATE_DOCS']) await writeFile(path, wanted);
    expect(await readFile(path, 'utf8')).toBe(wanted);
  });
});
