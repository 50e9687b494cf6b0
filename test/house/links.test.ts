/** A link of the documentation leads somewhere: the file exists, and so does the heading it names. */

import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

async function pages(): Promise<string[]> {
  const inFolder = async (folder: string): Promise<string[]> =>
    (await readdir(join(ROOT, folder))).filter((name) => name.endsWith('.md')).map((name) => join(ROOT, folder, name));
  const found = await Promise.all(['.', 'docs', 'docs/decisions', 'runtime/node'].map(inFolder));
  return found.flat();
}

/** As GitHub names a heading: lower case, dashes for blanks, without punctuation. */
function anchorsIn(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{Letter}\p{Number} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

async function brokenIn(page: string): Promise<string[]> {
  const text = (await readFile(page, 'utf8')).replaceAll(/^```.*?^```/gms, '');
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
  const local = links.filter((link) => !/^(https?|mailto):/.test(link));
  const broken = await Promise.all(
    local.map(async (link) => {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : resolve(dirname(page), path);
      const content = await readFile(target, 'utf8').catch((error: NodeJS.ErrnoException) => error.code);
      if (content === 'ENOENT') return [link];
      return anchor !== undefined && !anchorsIn(content ?? '').includes(anchor) ? [link] : [];
    }),
  );
  return broken.flat().map((link) => `${relative(ROOT, page)}: ${link}`);
}

test('every link leads to a file and a heading that exist', async () => {
  expect((await Promise.all((await pages()).map(brokenIn))).flat()).toEqual([]);
});

test('every page of docs/ can be reached from the README', async () => {
  const seen = new Set<string>();
  const visit = async (page: string): Promise<void> => {
    if (seen.has(page) || !page.endsWith('.md')) return;
    seen.add(page);
    const text = await readFile(page, 'utf8');
    for (const [, link = ''] of text.matchAll(/\]\(([^)\s#]+)/g)) {
      if (!link.includes(':')) await visit(resolve(dirname(page), link));
    }
  };
  await visit(join(ROOT, 'README.md'));
  const missing = (await pages()).filter(
    (page) => page.includes('/docs/') && !page.includes('/decisions/') && !seen.has(page),
  );
  expect(missing.map((page) => relative(ROOT, page))).toEqual([]);
});
