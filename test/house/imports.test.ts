import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Which folders a folder may import from, besides itself. ARCHITECTURE.md says why. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  gateway: ['core'],
  'builder/oci': ['core'],
  // What of the runtime goes into an image is the runtime's to say.
  builder: ['core', 'builder/oci', 'runtime'],
  // How Node must be started is the runtime's to say and the worker's to do.
  worker: ['core', 'builder/oci', 'runtime'],
  controller: ['core'],
  runtime: [],
  setup: [],
  functions: ['runtime'],
  web: ['core'],
  cli: ['core', 'gateway', 'builder', 'builder/oci', 'worker', 'controller', 'setup'],
};

interface Import {
  readonly from: string;
  readonly to: string;
  readonly kind: 'static' | 'type' | 'dynamic';
}

const STATEMENTS: readonly [Import['kind'], RegExp][] = [
  ['type', /^\s*(?:import|export) type\b[^'"]*?from\s*['"]([^'"]+)['"]/gm],
  ['static', /^\s*(?:import|export)\s(?!type\b)[^'"();]*?from\s*['"]([^'"]+)['"]/gm],
  ['static', /^\s*import\s*['"]([^'"]+)['"]/gm],
  ['dynamic', /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g],
  ['type', /@import\s[^'"]*?from\s*['"]([^'"]+)['"]/g],
];

function importsOf(file: string, text: string): Import[] {
  return STATEMENTS.flatMap(([kind, pattern]) =>
    [...text.matchAll(pattern)]
      .map((match) => match[1] ?? '')
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => ({ from: file, to: relative(ROOT, resolve(ROOT, dirname(file), specifier)), kind })),
  );
}

async function sources(): Promise<string[]> {
  const folders = Object.keys(MAY_IMPORT).filter((folder) => !folder.includes('/'));
  const listed = await Promise.all(
    folders.map(async (folder) => {
      const names = await readdir(join(ROOT, folder), { recursive: true }).catch(() => []);
      return names
        .filter((name) => /\.(ts|mjs|js)$/.test(name) && !name.includes('node_modules'))
        .map((name) => join(folder, name));
    }),
  );
  return listed.flat();
}

function folderOf(file: string): string {
  return file.startsWith('builder/oci/') ? 'builder/oci' : (file.split('/')[0] ?? '');
}

/** Files that import each other in a ring, each ring once. */
function ringsIn(edges: readonly Import[]): string[] {
  const next = new Map<string, string[]>();
  for (const { from, to } of edges) next.set(from, [...(next.get(from) ?? []), to]);
  const rings: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      rings.push([...path.slice(path.indexOf(file)), file].join(' → '));
      return;
    }
    state.set(file, 'open');
    for (const to of next.get(file) ?? []) visit(to, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of next.keys()) visit(file, []);
  return rings;
}

const files = await sources();
const imports = (
  await Promise.all(files.map(async (file) => importsOf(file, await readFile(join(ROOT, file), 'utf8'))))
).flat();

test('the scanner sees imports of every kind', () => {
  const text = [
    "import { a } from './a.ts';",
    "import type { B } from './b.ts';",
    "import {\n  c,\n  d,\n} from './c.ts';",
    "export * from './e.ts';",
    "import './f.ts';",
    "const g = await import('./g.ts');",
    "/** @import { H } from './h.ts' */",
    "import { x } from 'node:fs';",
  ].join('\n');
  const found = importsOf('core/x.ts', text).map(({ to, kind }) => `${kind} ${to}`);
  expect(found.toSorted()).toEqual([
    'dynamic core/g.ts',
    'static core/a.ts',
    'static core/c.ts',
    'static core/e.ts',
    'static core/f.ts',
    'type core/b.ts',
    'type core/h.ts',
  ]);
  expect(files.length).toBeGreaterThan(100);
  expect(imports.length).toBeGreaterThan(300);
});

test('a ring of imports is found', () => {
  const edge = (from: string, to: string): Import => ({ from, to, kind: 'static' });
  expect(ringsIn([edge('a', 'b'), edge('b', 'c'), edge('c', 'a'), edge('c', 'd')])).toEqual(['a → b → c → a']);
  expect(ringsIn([edge('a', 'b'), edge('a', 'c'), edge('b', 'd'), edge('c', 'd')])).toEqual([]);
});

describe('import directions', () => {
  test.each(Object.entries(MAY_IMPORT))('%s imports from nothing but itself and %j', (folder, allowed) => {
    const wrong = imports
      .filter(({ from, to }) => folderOf(from) === folder && ![folder, ...allowed].includes(folderOf(to)))
      // package.json holds the version.
      .filter(({ to }) => to !== 'package.json')
      .map(({ from, to }) => `${from} → ${to}`);
    expect(wrong).toEqual([]);
  });

  test('functions take nothing but types from the runtime', () => {
    const wrong = imports.filter(
      ({ from, to, kind }) => folderOf(from) === 'functions' && to.startsWith('runtime/') && kind !== 'type',
    );
    expect(wrong).toEqual([]);
  });
});

test('no file imports itself, however far around', () => {
  // Types are gone when the program runs. Verbs are found through their table, which help and completion read.
  expect(ringsIn(imports.filter(({ kind }) => kind === 'static'))).toEqual([]);
});
