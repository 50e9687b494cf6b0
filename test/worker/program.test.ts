import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../../worker/program.ts';
import { testDirectory } from '../support/directory.ts';

const WITHIN = 10_000;

/** The shell script's status, and what came out of its descriptors 1 and 3. */
async function shell(script: string, env = {}, within = WITHIN) {
  await using directory = await testDirectory();
  const paths = ['one', 'three'].map((name) => join(directory.path, name));
  const [one = -1, three = -1] = paths.map((path) => openSync(path, 'w'));
  const status = await runProgram('/bin/sh', ['-c', script], { env, fds: [one, one, three], within });
  for (const fd of [one, three]) closeSync(fd);
  const [text, third] = paths.map((path) => readFileSync(path, 'utf8'));
  return { status, text, third };
}

test('a program gets its arguments, its environment and the descriptors in their order, and nothing else', async () => {
  const { status, text, third } = await shell('echo "$WORD"; echo error >&2; echo three >&3; cat; env', {
    WORD: 'a b',
  });
  expect(status).toEqual({ exitCode: 0 });
  expect(text).toMatch(/^a b\nerror\n(PWD=.*\n|WORD=a b\n|_=.*\n)+$/);
  expect(third).toBe('three\n');
});

test('descriptors of ours that it is not given are not in it', async () => {
  const fd = openSync('/dev/null', 'r');
  expect((await shell(`test -e /proc/self/fd/${fd}`)).status).toEqual({ exitCode: 1 });
  closeSync(fd);
});

test('how it ended is told: its status, the signal, and that it was killed for taking too long', async () => {
  expect((await shell('exit 7')).status).toEqual({ exitCode: 7 });
  expect((await shell('kill -TERM $$')).status).toEqual({ signal: 15 });
  expect((await shell('exec sleep 60', {}, 20)).status).toEqual({ signal: 9 });
});

test('signals that we ignore are not ignored in it', async () => {
  const { text } = await shell('grep SigIgn /proc/self/status; grep SigBlk /proc/self/status');
  expect(text?.replaceAll(/\s+/g, ' ')).toBe('SigIgn: 0000000000000000 SigBlk: 0000000000000000 ');
});

test('many at once are all told from each other', async () => {
  const statuses = await Promise.all(
    Array.from({ length: 30 }, async (_, code) => (await shell(`exit ${code}`)).status),
  );
  expect(statuses).toEqual(Array.from({ length: 30 }, (_, exitCode) => ({ exitCode })));
});

test('a program that is not there cannot be started, and the next one can', async () => {
  const options = { env: {}, fds: [], within: WITHIN };
  await expect(runProgram('/no/such/program', [], options)).rejects.toThrow(/ENOENT/);
  expect(await runProgram('/bin/true', [], options)).toEqual({ exitCode: 0 });
});
