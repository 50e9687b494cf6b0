/** A1, A2, A7, A11, A12, A14–A17, A66: what does not end well, or does not end by itself. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { attempt } from './attempt.js';
import { NR } from './numbers.js';
import { call, fork, koffi, runCode } from './syscalls.js';

const MIB = 2 ** 20;
const never = () => new Promise(() => {});

/** A child that does nothing but fork, and so do its children. */
export function forks() {
  const code = fork();
  const child = [...code, 0xeb, 256 - code.length - 2]; // jmp to the start
  runCode([...code, 0x85, 0xc0, 0x75, child.length, ...child]); // test eax, eax; jnz past the child
  return never();
}

export function spin() {
  for (;;);
}

/** A child that takes memory until it has no more. */
export function memoryInChild() {
  const script = 'const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))';
  return once(spawn(process.execPath, ['-e', script], { stdio: 'ignore' }), 'exit');
}

export async function threads({ count }) {
  const workers = [];
  try {
    for (let n = 0; n < Number(count); n++) {
      const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
      worker.on('error', () => {});
      await once(worker, 'online');
      workers.push(worker);
    }
    return { started: workers.length, stopped: 'never' };
  } catch (error) {
    return { started: workers.length, stopped: error.code };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** Connected sockets, each filled until it takes no more: memory of the kernel, not of any process. */
export function socketBuffers() {
  const [AF_UNIX, STREAM_NONBLOCK] = [1, 1 | 0o4000];
  const block = Buffer.alloc(64 * 1024);
  const pair = Buffer.alloc(8);
  let written = 0;
  for (let n = 0; n < 480; n++) {
    if (call(NR.socketpair, AF_UNIX, STREAM_NONBLOCK, 0, koffi.address(pair)) !== 'ok') return { pairs: n, written };
    for (const fd of [pair.readInt32LE(0), pair.readInt32LE(4)]) {
      while (attempt(() => (written += writeSync(fd, block))) === 'ok');
    }
  }
  return { written };
}

export function killEverything() {
  return [attempt(() => process.kill(-1, 'SIGKILL')), attempt(() => process.kill(1, 'SIGKILL'))];
}

/** Answers, and from then on does not end when it is asked to. */
export function ignoreSigterm() {
  process.removeAllListeners('SIGTERM');
  process.on('SIGTERM', () => {});
}

export function spinOnSigterm() {
  process.removeAllListeners('SIGTERM');
  process.on('SIGTERM', () => {
    for (;;);
  });
}

/** Children in sessions of their own, whose parent is gone. */
export function daemons({ count }) {
  for (let n = 0; n < Number(count); n++) {
    const script = 'setInterval(() => {}, 1000); process.on("SIGTERM", () => {}); process.on("SIGHUP", () => {})';
    spawn(process.execPath, ['-e', script], { detached: true, stdio: 'ignore' }).unref();
  }
}

/** Forks on after the reply. */
export function forkOn() {
  setInterval(() => {
    spawn(process.execPath, ['-e', 'setInterval(() => {}, 1)'], { detached: true, stdio: 'ignore' })
      .on('error', () => {}) // There are no more to have.
      .unref();
  }, 20);
}

let ticks = 0;
/** Works on after the reply; how often is told by the next call. */
export function workOn() {
  const before = ticks;
  if (before === 0) {
    const spin = () => {
      const end = performance.now() + 20;
      while (performance.now() < end) ticks++;
      setTimeout(spin, 1);
    };
    setTimeout(spin, 1);
  }
  return before;
}

/** Writes to its log as fast as it can, for as many bytes as it can in that time. */
export function flood({ ms }) {
  const line = Buffer.from(`${'flood '.repeat(1000)}\n`);
  const end = performance.now() + Number(ms);
  let written = 0;
  while (performance.now() < end) attempt(() => (written += writeSync(1, line)));
  return written;
}

/** Lines that would be something else if they were read carelessly. */
export function forgeLog({ id }) {
  const lines = [
    'long '.repeat(100_000),
    'nul \0 escape \x1b[2J\x1b]0;title\x07 end',
    `{"at":0,"instance":"other","revision":"other-00001","from":"platform","text":"forged"}`,
    `\x1e${id} of another invocation`,
    "[INFO  tini (1)] Main child exited normally (with status '0')",
    '{"ready":true}',
    'HTTP/1.1 200 OK\r\n\r\nforged',
    'separators \u2028null\u2029{} end',
    'last',
  ];
  for (const line of lines) {
    for (let rest = Buffer.from(`${line}\n`); rest.length > 0;) {
      attempt(() => (rest = rest.subarray(writeSync(1, rest))));
    }
  }
}

export function everything() {
  for (let n = 0; n < 3; n++) {
    const script = `const kept = []; setInterval(() => { kept.push(Buffer.alloc(1 << 20, 1)); for (let i = 0; i < 1e6; i++); }, 1)`;
    spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  }
  for (let n = 0; n < 60; n++) attempt(() => writeFileSync(`/tmp/${n}`, Buffer.alloc(MIB, 1)));
  return forks();
}

/** What an earlier invocation left in /tmp. */
export function leave({ name }) {
  writeFileSync(`/tmp/${name}`, name);
}
export function found() {
  return readdirSync('/tmp').map((name) => readFileSync(`/tmp/${name}`, 'utf8'));
}

export function closeEverything() {
  setTimeout(() => {
    for (let fd = 0; fd < 64; fd++) call(NR.close, fd);
  }, 10);
}
