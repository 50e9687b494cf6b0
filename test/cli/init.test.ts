import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readPackage } from '../../builder/package.ts';
import { parseSpecFile } from '../../core/spec-file.ts';
import { fn } from '../support/command.ts';
import { testDirectory } from '../support/directory.ts';

const TEMPLATES = ['http', 'event', 'queue'].flatMap((template) =>
  ['js', 'ts'].map((lang) => [template, lang] as const),
);

describe('fn init', () => {
  test.each(TEMPLATES)('%s in %s is a function that can be deployed', async (template, lang) => {
    await using directory = await testDirectory();
    const target = join(directory.path, 'my-thing');
    const { code, stdout } = await fn(['init', target, '--template', template, '--lang', lang]);
    expect(stdout).toContain('Next: fn deploy');
    expect(code).toBe(0);
    expect((await readdir(target)).toSorted()).toEqual(['README.md', 'fn.yaml', `index.${lang}`, 'package.json']);
    const { spec } = await readPackage(target);
    expect(spec.name).toBe('my-thing');
    expect(await readFile(join(target, 'README.md'), 'utf8')).toMatch(/^# my-thing\n/);
  });

  test('the name comes from the directory', async () => {
    await using directory = await testDirectory();
    const target = join(directory.path, '2nd Übung: Hello_World');
    expect((await fn(['init', target])).code).toBe(0);
    expect(parseSpecFile(await readFile(join(target, 'fn.yaml'), 'utf8')).name).toBe('nd-bung-hello-world');
  });

  test('what cannot be a directory is named', async () => {
    await using directory = await testDirectory();
    await writeFile(join(directory.path, 'file'), '');
    const { code, stderr } = await fn(['init', join(directory.path, 'file', 'below')]);
    expect(code).toBe(2);
    expect(stderr).toContain('below cannot be made a directory');
  });

  test('a directory that holds something is left alone', async () => {
    await using directory = await testDirectory();
    const target = join(directory.path, 'taken');
    await mkdir(target);
    await writeFile(join(target, 'precious'), '');
    const { code, stderr } = await fn(['init', target]);
    expect(code).toBe(2);
    expect(stderr).toContain('is not empty');
    expect(await readdir(target)).toEqual(['precious']);
  });
});
