import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What the check prints, nothing when it has no complaint. */
async function complaints(program: string, args: readonly string[]): Promise<string> {
  const script = new URL(`../../node_modules/.bin/${program}`, import.meta.url);
  const { stdout, stderr, code } = await run(fileURLToPath(script), args, { cwd: ROOT, maxBuffer: 2 ** 26 }).then(
    () => ({ stdout: '', stderr: '', code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
  return code === 0 ? '' : `${stdout}${stderr}` || `${program} ended with code ${code}`;
}

test('the types fit', async () => {
  expect(await complaints('tsc', ['--noEmit'])).toBe('');
}, 120_000);

test('the linter finds nothing', async () => {
  expect(await complaints('oxlint', ['--type-aware', '--deny-warnings'])).toBe('');
}, 120_000);

test('everything is formatted', async () => {
  expect(await complaints('prettier', ['--check', '--log-level', 'warn', '.'])).toBe('');
}, 120_000);
