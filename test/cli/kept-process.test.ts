import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { KeptProcess } from '../../cli/server/kept-process.ts';
import { eventually } from '../support/eventually.ts';
import { rejectionOf } from '../support/thrown.ts';

interface Kept extends AsyncDisposable {
  readonly process: KeptProcess;
  readonly restarts: string[];
  readonly lines: string[];
  readonly ready: number;
}

function keep(source: string): Kept {
  const restarts: string[] = [];
  const lines: string[] = [];
  let ready = 0;
  const process_ = new KeptProcess({
    name: 'child',
    launch: () => spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }),
    ready: async (child, signal) => void (await once(child, 'message', { signal })),
    onLine: (line) => lines.push(line),
    onRestart: (how) => restarts.push(how),
    onReady: () => ready++,
  });
  return {
    process: process_,
    restarts,
    lines,
    get ready() {
      return ready;
    },
    [Symbol.asyncDispose]: () => process_.end(5000),
  };
}

const RUNS = "process.send('ready'); setInterval(() => {}, 1000);";

test('a process that is killed is started again, again and again', async () => {
  await using kept = keep(RUNS);
  await kept.process.start();
  for (let times = 1; times <= 3; times++) {
    const { pid } = kept.process;
    kept.process.kill('SIGKILL');
    await eventually(() => {
      expect(kept.ready).toBe(times + 1);
      expect(kept.process.pid).not.toBe(pid);
    });
  }
  expect(kept.restarts).toEqual(Array(3).fill('was ended by SIGKILL'));
});

test('a process that was asked to end stays ended', async () => {
  await using kept = keep(RUNS);
  await kept.process.start();
  const { pid = 0 } = kept.process;
  await kept.process.end(5000);
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(kept.restarts).toEqual([]);
});

test('a process that ignores the request to end is killed at the deadline', async () => {
  await using kept = keep(`process.on('SIGTERM', () => {}); ${RUNS}`);
  await kept.process.start();
  const { pid = 0 } = kept.process;
  await kept.process.end(50);
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('a first start that fails is told and not repeated', async () => {
  await using kept = keep("console.error('no such thing'); process.exit(7);");
  const error = await rejectionOf(kept.process.start());
  expect(error.message).toBe('the child exited with code 7');
  await eventually(() => expect(kept.lines).toEqual(['no such thing']));
  expect(kept.restarts).toEqual([]);
});

test('a program that does not exist is told', async () => {
  const process_ = new KeptProcess({
    name: 'ghost',
    launch: () => spawn('/nonexistent/program', { stdio: 'ignore' }),
    ready: () => new Promise(() => {}),
    onLine: () => {},
    onRestart: () => {},
    onReady: () => {},
  });
  expect((await rejectionOf(process_.start())).message).toContain('could not be started');
});

test('ending during the start ends it', async () => {
  await using kept = keep('setInterval(() => {}, 1000);');
  const started = rejectionOf(kept.process.start());
  await kept.process.end(5000);
  expect((await started).message).toContain('was ended by SIGTERM');
});

test('a process that dies before it is ready again is still kept', async () => {
  // Fails the second and third time it is started.
  await using kept = keep(`
    const { writeFileSync, readFileSync, existsSync } = require('node:fs');
    const file = '/tmp/fn-kept-' + process.ppid;
    const times = existsSync(file) ? Number(readFileSync(file)) + 1 : 1;
    writeFileSync(file, String(times));
    if (times === 2 || times === 3) process.exit(times);
    if (times > 3) require('node:fs').rmSync(file);
    ${RUNS}`);
  await kept.process.start();
  kept.process.kill('SIGKILL');
  await eventually(() => expect(kept.ready).toBe(2));
  expect(kept.restarts).toEqual([
    'was ended by SIGKILL',
    'the child exited with code 2',
    'the child exited with code 3',
  ]);
});
