import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { sleep } from '../../core/clock.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeFifo } from '../../worker/native.ts';
import { LogPipe, parseLine, type PipeLine } from '../../worker/sandbox/log-pipe.ts';
import { eventually } from '../support/eventually.ts';

interface Opened extends AsyncDisposable {
  readonly lines: PipeLine[];
  readonly pipe: LogPipe;
  dropped: number;
  ended: boolean;
  write(text: string): Promise<void>;
  end(): void;
}

async function open(): Promise<Opened> {
  const directory = await mkdtemp(join(tmpdir(), 'fnt-'));
  const path = join(directory, 'log');
  makeFifo(path, 0o600);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  let closed = false;
  const opened: Opened = {
    lines: [],
    dropped: 0,
    ended: false,
    pipe: new LogPipe(path, {
      onLines: (lines) => opened.lines.push(...lines),
      onDropped: (bytes) => (opened.dropped += bytes),
      onEnd: () => (opened.ended = true),
    }),
    /** Reader and writer are one process here: when the pipe is full the reader must get its turn. */
    async write(text) {
      for (let rest = Buffer.from(text); rest.length > 0;) {
        try {
          rest = rest.subarray(writeSync(fd, rest));
        } catch {
          await sleep(1);
        }
      }
    },
    end() {
      if (!closed) closeSync(fd);
      closed = true;
    },
    async [Symbol.asyncDispose]() {
      opened.end();
      opened.pipe[Symbol.dispose]();
      await rm(directory, { recursive: true });
    },
  };
  return opened;
}

test('lines come out whole, however they were written', async () => {
  await using log = await open();
  await log.write('one\ntw');
  await log.write('o\nthree\n');
  await eventually(() => expect(log.lines.map(({ text }) => text)).toEqual(['one', 'two', 'three']));
});

test('a last line without a newline is not lost, and the end is told', async () => {
  await using log = await open();
  await log.write('last words');
  log.end();
  await eventually(() => expect(log.ended).toBe(true));
  expect(log.lines).toEqual([{ text: 'last words' }]);
});

test('a line is cut at its limit and goes on with the next line', async () => {
  await using log = await open();
  for (let n = 0; n < 20; n++) await log.write('x'.repeat(2000));
  await log.write('\nnext\n');
  await eventually(() => expect(log.lines.at(-1)?.text).toBe('next'));
  expect(log.lines).toHaveLength(2);
  expect(log.lines[0]?.text).toMatch(/^x{16384}… \[line cut here/);
});

test('above the rate lines are counted and dropped, and later lines are read again', async () => {
  await using log = await open();
  const block = `${'y'.repeat(999)}\n`.repeat(16);
  for (let n = 0; n < 200; n++) await log.write(block);
  log.end();
  await eventually(() => expect(log.ended).toBe(true));
  const kept = log.lines.reduce((sum, { text }) => sum + text.length, 0);
  expect(kept).toBeLessThan(2 * 2 ** 20);
  expect(kept + log.dropped).toBe(999 * 16 * 200);
});

test('what was dropped is told while the flood goes on, or is over without another line', async () => {
  await using log = await open();
  const block = `${'y'.repeat(999)}\n`.repeat(16);
  for (let n = 0; n < 200; n++) await log.write(block);
  await eventually(() => expect(log.dropped).toBeGreaterThan(2 ** 20));
  expect(log.ended).toBe(false);
});

test("the init's report is taken out of the log: an exit code above 128 is not a signal", async () => {
  await using log = await open();
  await log.write("[INFO  tini (1)] Spawned child process 'node' with pid '6'\nhello\n");
  await log.write("[INFO  tini (1)] Main child exited normally (with status '137')\n");
  await eventually(() => expect(log.pipe.initReport).toEqual({ exitCode: 137 }));
  expect(log.lines).toEqual([{ text: 'hello' }]);
});

test('a signal is reported by name', async () => {
  await using log = await open();
  await log.write("[INFO  tini (1)] Main child exited with signal (with signal 'Killed')\n");
  await eventually(() => expect(log.pipe.initReport).toEqual({ signal: 'SIGKILL' }));
});

test("the init's lines do not stick to what was left without a newline", async () => {
  await using log = await open();
  await log.write("half a line[INFO  tini (1)] Spawned child process 'node' with pid '6'\n");
  await log.write("[INFO  tini (1)] Main child exited normally (with status '0')\n");
  await eventually(() => expect(log.pipe.initReport).toEqual({ exitCode: 0 }));
  expect(log.lines).toEqual([{ text: 'half a line' }]);
});

test("V8's word that memory is out is seen behind a flood, and however long the stack after it", async () => {
  await using log = await open();
  for (let n = 0; n < 200; n++) await log.write(`${'y'.repeat(999)}\n`.repeat(16));
  await log.write('FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n');
  for (let n = 0; n < 100; n++) await log.write(` ${n}: 0x7f node\n`);
  log.end();
  await eventually(() => expect(log.ended).toBe(true));
  expect(log.pipe.outOfMemory).toBe(true);
});

test('the mark names the invocation; a forged one that is no id is text', () => {
  expect(parseLine('\x1eabc-1 hello world')).toEqual({ invocation: 'abc-1', text: 'hello world' });
  expect(parseLine('\x1e{"at":1} x')).toEqual({ text: '{"at":1} x' });
  expect(parseLine('plain')).toEqual({ text: 'plain' });
});
