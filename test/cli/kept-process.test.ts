import { spawn } from 'node:child_process';
import { on, once } from 'node:events';
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

/** A process whose sources follow one another, as when the code on disk changes. */
function replaceable(sources: readonly string[]): KeptProcess {
  let launched = 0;
  return new KeptProcess({
    name: 'child',
    launch: () =>
      spawn(process.execPath, ['-e', sources[launched++] ?? ''], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }),
    async ready(child, signal, takeOver) {
      for await (const [message] of on(child, 'message', { signal })) {
        if (message === 'ready') return;
        await takeOver();
        child.send('go');
      }
    },
    async release(child, signal) {
      child.kill('SIGUSR2');
      await once(child, 'message', { signal });
    },
    onLine: () => {},
    onRestart: () => {},
    onReady: () => {},
  });
}

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};
/** Lets go at once, and then has something to finish. */
const FINISHES = `process.on('SIGUSR2', () => { process.send('released'); setTimeout(() => process.exit(), 300); }); ${RUNS}`;

test('a process is replaced by one that is ready, and finishes what it has', async () => {
  const kept = replaceable([FINISHES, RUNS]);
  await kept.start();
  const { pid: old = 0 } = kept;
  const { oldPid, pid } = await kept.replace();
  expect([oldPid, pid]).toEqual([old, kept.pid]);
  expect([isRunning(old), isRunning(pid ?? 0)]).toEqual([true, true]);
  await eventually(() => expect(isRunning(old)).toBe(false));
  expect(kept.pid).toBe(pid); // Its end is nobody's loss.
  await kept.end(5000);
});

test('what only one may have goes to the new one when the old one has let go of it', async () => {
  const waits = "process.once('message', () => { process.send('ready'); }); process.send('standby');";
  const kept = replaceable([
    `process.on('SIGUSR2', () => setTimeout(() => { process.send('released'); process.exit(); }, 200)); ${RUNS}`,
    waits,
  ]);
  await kept.start();
  const { pid: old = 0 } = kept;
  await kept.replace();
  await eventually(() => expect(isRunning(old)).toBe(false));
  await kept.end(5000);
});

test('one that does not become ready changes nothing, and its last words are told', async () => {
  const kept = replaceable([FINISHES, "console.error('SyntaxError: bad code'); process.exit(1);"]);
  await kept.start();
  const { pid: old } = kept;
  const error = await rejectionOf(kept.replace());
  expect([error.message, error.options.logs]).toEqual(['the child exited with code 1', ['SyntaxError: bad code']]);
  expect([kept.pid, isRunning(old ?? 0)]).toEqual([old, true]);
  await kept.end(5000);
});

test('one that fails after it was given everything is started again', async () => {
  const kept = replaceable([
    FINISHES,
    "process.once('message', () => process.exit(3)); process.send('standby');",
    RUNS,
  ]);
  await kept.start();
  const { pid: old } = kept;
  expect((await rejectionOf(kept.replace())).message).toBe('the child exited with code 3');
  await eventually(() => {
    expect(kept.pid).not.toBe(old);
    expect(isRunning(kept.pid ?? 0)).toBe(true);
  });
  await kept.end(5000);
});
