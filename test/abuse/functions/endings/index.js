/** Ends in the way the path names, or answers. */

import { spawn } from 'node:child_process';

const MIB = 2 ** 20;
const never = () => new Promise(() => {});
const kill = (signal) => {
  process.kill(process.pid, signal);
  return never();
};

const ENDINGS = {
  ok: () => new Response('ok'),
  throw: () => {
    throw new Error('thrown');
  },
  'throw-later': () => {
    setImmediate(() => {
      throw new Error('thrown later');
    });
    return never();
  },
  exit: ({ code }) => process.exit(Number(code)),
  kill: () => kill('SIGKILL'),
  'kill-after-half-a-line': async () => {
    await new Promise((done) => process.stdout.write('half a line', done));
    return kill('SIGKILL');
  },
  'kill-after-a-long-line': async () => {
    await new Promise((done) => process.stdout.write('x'.repeat(100_000), done));
    return kill('SIGKILL');
  },
  'exit-137-after-half-a-line': async () => {
    await new Promise((done) => process.stdout.write('half a line', done));
    process.exit(137);
  },
  'exit-and-claim-to-be-killed': async () => {
    const line = "\n[INFO  tini (1)] Main child exited with signal (with signal 'Killed')\n";
    await new Promise((done) => process.stdout.write(line, done));
    process.exit(3);
  },
  'kill-and-claim-to-exit': async () => {
    const line = "\n[INFO  tini (1)] Main child exited normally (with status '0')\n";
    await new Promise((done) => process.stdout.write(line, done));
    return kill('SIGKILL');
  },
  segfault: () => kill('SIGSEGV'),
  abort: () => process.abort(),
  'out-of-buffers': () => fill(() => Buffer.alloc(MIB, 1)),
  'out-of-heap': () => fill(() => Array.from({ length: 10_000 }, (_, n) => ({ n }))),
  'out-of-heap-deep-down': () => dive(5000),
  'out-of-heap-after-a-flood': async () => {
    for (let n = 0; n < 400; n++) process.stdout.write(`${'flood '.repeat(2000)}\n`);
    return fill(() => Array.from({ length: 10_000 }, (_, n) => ({ n })));
  },
  'child-out-of-memory': async () => {
    spawn(process.execPath, ['-e', 'const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))']);
    return never();
  },
  loop: () => {
    for (;;);
  },
  late: never,
  stop: () => kill('SIGSTOP'),
  /** The gateway thinks it was answered; the process that should stop the work is the one that does not. */
  'loop-on-exit': () => {
    process.on('exit', () => {
      for (;;);
    });
    process.exit(0);
  },
};

function fill(make) {
  const kept = [];
  for (;;) kept.push(make());
}

function dive(depth) {
  return depth === 0 ? fill(() => Array.from({ length: 10_000 }, (_, n) => ({ n }))) : [dive(depth - 1)];
}

export default async function end(request) {
  const { pathname, searchParams } = new URL(request.url);
  return ENDINGS[pathname.slice(1)](Object.fromEntries(searchParams));
}
