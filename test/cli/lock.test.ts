import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockHolder, takeLock } from '../../cli/server/lock.ts';
import { testDirectory } from '../support/directory.ts';
import { rejectionOf } from '../support/thrown.ts';

test('a second start is refused and told who runs', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  await using _ = await takeLock(path);
  const error = await rejectionOf(takeLock(path));
  expect(error.code).toBe('server.running');
  expect(error.message).toContain(`pid ${process.pid}`);
  expect(await lockHolder(path)).toBe(process.pid);
});

test('a released lock is gone and can be taken again', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  await (await takeLock(path))[Symbol.asyncDispose]();
  expect(await readdir(directory.path)).toEqual([]);
  await using _ = await takeLock(path);
});

test('a lock whose holder has died is taken over', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8');
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  await writeFile(path, JSON.stringify({ pid: child.pid, started: `${boot}/${stat.split(' ')[21]}` }));
  expect(await lockHolder(path)).toBe(child.pid);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await using _ = await takeLock(path);
  expect(await lockHolder(path)).toBe(process.pid);
  expect(await readdir(directory.path)).toEqual(['server.lock']);
});

test('a lock from before a reboot is taken over, though its pid is used again', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  await writeFile(path, JSON.stringify({ pid: process.pid, started: 'another-boot/1' }));
  await using _ = await takeLock(path);
  expect(await readFile(path, 'utf8')).not.toContain('another-boot');
});

test.each(['', '{"pid":', 'null', '{"pid":"1"}'])('a damaged lock (%j) is taken over', async (content) => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  await writeFile(path, content);
  await using _ = await takeLock(path);
  expect(await lockHolder(path)).toBe(process.pid);
});

test('of many that find a stale lock one takes it', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'server.lock');
  await writeFile(path, '{"pid":1,"started":"another-boot/1"}');
  const source = `
    const { takeLock } = await import(${JSON.stringify(new URL('../../cli/server/lock.ts', import.meta.url).href)});
    setInterval(() => {}, 1000); // It holds what it took for as long as it lives.
    process.send('loaded');
    process.once('message', async () => {
      await takeLock(${JSON.stringify(path)}).then(() => process.send('taken'), (error) => process.send(error.code));
    });`;
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  try {
    await Promise.all(children.map((child) => once(child, 'message')));
    const replies = children.map(async (child) => ((await once(child, 'message')) as [string])[0]);
    for (const child of children) child.send('go');
    expect((await Promise.all(replies)).toSorted()).toEqual([
      'server.running',
      'server.running',
      'server.running',
      'taken',
    ]);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
});
