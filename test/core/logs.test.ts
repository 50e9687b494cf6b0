import { appendFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { FunctionName } from '../../core/ids.ts';
import { LogFile, type LogLine, type LogQuery, readLogs, removeLogs } from '../../core/logs.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';

const NAME = 'hello' as FunctionName;

function line(text: string, more: Partial<LogLine> = {}): LogLine {
  return { at: 1000, instance: 'hello-1', revision: 'hello-00001', from: 'function', text, ...more };
}

async function texts(logs: string, query?: LogQuery): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of readLogs(logs, NAME, query)) found.push(text);
  return found;
}

test('what was appended is read back in order', async () => {
  await using directory = await testDirectory();
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([line('a'), line('b')]);
  file.append([line('c\nd "e" ü')]);
  await file.flushed();
  expect(await texts(directory.path)).toEqual(['a', 'b', 'c\nd "e" ü']);
});

test('a log that was never written is empty', async () => {
  await using directory = await testDirectory();
  expect(await texts(directory.path)).toEqual([]);
});

test('lines are chosen by time, instance, invocation, and the last of them', async () => {
  await using directory = await testDirectory();
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([
    line('old', { at: 10 }),
    line('other', { instance: 'hello-2' }),
    line('call', { invocation: 'hello.1' }),
    line('last'),
  ]);
  await file.flushed();
  expect(await texts(directory.path, { since: 500 })).toEqual(['other', 'call', 'last']);
  expect(await texts(directory.path, { instance: 'hello-2' })).toEqual(['other']);
  expect(await texts(directory.path, { invocation: 'hello.1' })).toEqual(['call']);
  expect(await texts(directory.path, { tail: 2 })).toEqual(['call', 'last']);
  expect(await texts(directory.path, { tail: 0 })).toEqual([]);
});

test('it stays within its limit, loses the oldest, and reads on over the seam', async () => {
  await using directory = await testDirectory();
  const limit = 20_000;
  const file = new LogFile(directory.path, NAME, limit);
  for (let n = 0; n < 500; n++) {
    file.append([line(`line ${n}`)]);
    await file.flushed();
  }
  const names = await readdir(join(directory.path, NAME));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory.path, NAME, name))).size));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(limit * 1.1);
  const kept = await texts(directory.path);
  expect(kept.at(-1)).toBe('line 499');
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, n) => `line ${500 - kept.length + n}`));
  expect(kept.length).toBeGreaterThan(50);
});

test('a line cut short by a crash does not hide the others', async () => {
  await using directory = await testDirectory();
  await mkdir(join(directory.path, NAME));
  await appendFile(join(directory.path, NAME, 'current.ndjson'), `${JSON.stringify(line('a'))}\n{"at":1,"te\n`);
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([line('b')]);
  await file.flushed();
  expect(await texts(directory.path)).toEqual(['a', 'b']);
});

test('a separator that is no newline neither hides a line nor makes one', async () => {
  await using directory = await testDirectory();
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([line('a\u2028null\u2029b'), line('c')]);
  await file.flushed();
  expect(await texts(directory.path)).toEqual(['a\u2028null\u2029b', 'c']);
});

test('following goes on with what comes, also over the seam, until it is stopped', async () => {
  await using directory = await testDirectory();
  const file = new LogFile(directory.path, NAME, 4000);
  file.append([line('before')]);
  await file.flushed();
  const stop = new AbortController();
  const seen: string[] = [];
  const following = (async () => {
    for await (const { text } of readLogs(directory.path, NAME, { follow: true, signal: stop.signal })) seen.push(text);
  })();
  await eventually(() => expect(seen).toEqual(['before']));
  file.append([line('after')]);
  await eventually(() => expect(seen).toEqual(['before', 'after']));
  file.append([line('x'.repeat(2500))]);
  await file.flushed();
  file.append([line('new file')]);
  await eventually(() => expect(seen.at(-1)).toBe('new file'));
  stop.abort();
  await following;
});

test('logs of a removed function are gone', async () => {
  await using directory = await testDirectory();
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([line('a')]);
  await file.flushed();
  await removeLogs(directory.path, NAME);
  expect(await readdir(directory.path)).toEqual([]);
});

test('what a full disk refuses is lost and counted; nothing breaks, and what comes after is written', async () => {
  await using directory = await testDirectory();
  const blocked = join(directory.path, NAME);
  await writeFile(blocked, ''); // A file where the directory of the log must be.
  const file = new LogFile(directory.path, NAME, 2 ** 20);
  file.append([line('lost'), line('lost too')]);
  await file.flushed();
  await rm(blocked);
  file.append([line('kept')]);
  await file.flushed();
  const texts: string[] = [];
  for await (const { from, text } of readLogs(directory.path, NAME)) texts.push(`${from}: ${text}`);
  expect(texts).toEqual(['platform: [2 lines could not be written (EEXIST)]', 'function: kept']);
});
