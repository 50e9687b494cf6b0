import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeFiles } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/free-port.ts';

const BOOTSTRAP = join(import.meta.dirname, '../../runtime/node/bootstrap.mjs');

/** As `podman run` starts an image: no socket, only environment. */
async function standalone(files: Record<string, string>, env: Record<string, string>) {
  const task = await mkdtemp(join(tmpdir(), 'fn-alone-'));
  await writeFiles(task, files);
  const child = spawn(process.execPath, [BOOTSTRAP], { env: { FN_TASK: task, ...env } });
  const output = { stderr: '' };
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    output,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
      await rm(task, { recursive: true });
    },
  };
}

test('without the socket it reads the environment, listens on $PORT and ends on SIGTERM', async () => {
  const port = await freePort();
  const source = 'export const run = async (event, { functionName }) => functionName + process.env.GREETING';
  const env = { PORT: String(port), FN_FUNCTION: 'alone', FN_HANDLER: 'main.run', GREETING: ' hi' };
  await using run = await standalone({ 'main.mjs': source }, env);
  await eventually(() => expect(run.output.stderr).toBe(`alone listens on port ${port}\n`));
  const reply = await fetch(`http://127.0.0.1:${port}/`);
  expect(await reply.json()).toBe('alone hi');
  run.child.kill('SIGTERM');
  expect(await run.ended).toBe(0);
});

test('a handler that does not load is said on stderr, and the exit code is not zero', async () => {
  await using run = await standalone({ 'index.mjs': 'throw new Error("boom")' }, { FN_FUNCTION: 'alone' });
  expect(await run.ended).toBe(1);
  expect(run.output.stderr).toMatch(/^Error: boom\n\s+at index\.mjs:1:7/);
});

test('compiled TypeScript works standing alone too', async () => {
  const port = await freePort();
  const files = {
    'index.mjs': 'import { a } from "./a.mts"; export default () => new Response(a)',
    'a.mjs': 'export const a = "a"',
  };
  await using run = await standalone(files, { PORT: String(port), FN_TYPESCRIPT: '1' });
  await eventually(() => expect(run.output.stderr).toContain('listens'));
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('a');
});
