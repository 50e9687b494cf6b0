import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { nodeFlags } from '../../runtime/node/flags.mjs';
import { eventually } from '../support/eventually.ts';

const MIB = 2 ** 20;

interface Run {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Highest memory of its own that was seen, bytes. */
  readonly peak: number;
}

/** Runs a script in a node with the flags of a memory class; it reports its own memory as it goes. */
async function run(memory: number, script: string): Promise<Run> {
  const measure = `import { readFileSync } from 'node:fs'; let peak = 0;
    const measure = () => { const own = 1024 * /RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];
      if (own > peak) process.stdout.write((peak = own) + '\\n') };`;
  const child = spawn(process.execPath, [...nodeFlags(memory), '--input-type=module', '--eval', measure + script], {
    env: {},
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr, peak: Math.max(...stdout.trim().split('\n').map(Number)) };
}

test.each([64, 128, 256])('garbage without end fits into %i MiB', async (memory) => {
  const { code, peak } = await run(
    memory * MIB,
    `const kept = []; for (let n = 0; n < 2_000_000; n++) {
       kept[n % 20_000] = { n, text: 'x' + n, list: new Array(20).fill(n) };
       if (n % 10_000 === 0) measure() }`,
  );
  expect(code).toBe(0);
  expect(peak).toBeLessThan(memory * MIB * 0.9);
});

test.each([64, 128, 256])('holding everything ends with V8’s own message before %i MiB are full', async (memory) => {
  const { signal, stderr, peak } = await run(
    memory * MIB,
    `const kept = []; for (let n = 0; ; n++) {
       kept.push({ n, text: 'x' + n, list: new Array(20).fill(n) });
       if (n % 10_000 === 0) measure() }`,
  );
  expect(signal).toBe('SIGABRT');
  expect(stderr).toContain('JavaScript heap out of memory');
  expect(peak).toBeGreaterThan(memory * MIB * 0.4);
  expect(peak).toBeLessThan(memory * MIB * 0.9);
});

test('buffers that are let go fit into 64 MiB', async () => {
  const { code, peak } = await run(
    64 * MIB,
    'for (let n = 0; n < 1000; n++) { Buffer.alloc(1 << 20).fill(1); measure() }',
  );
  expect(code).toBe(0);
  expect(peak).toBeLessThan(64 * MIB * 0.9);
});

test('an instance has few threads, since they count against its pids limit', async () => {
  const child = spawn(process.execPath, [
    ...nodeFlags(64 * MIB),
    '--eval',
    'console.log(1); setInterval(() => {}, 1e6)',
  ]);
  try {
    await once(child.stdout, 'data');
    const status = await eventually(() => readFile(`/proc/${child.pid}/status`, 'utf8'));
    expect(Number(/^Threads:\s+(\d+)/m.exec(status)?.[1])).toBeLessThanOrEqual(4);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});

test('the heap grows with the class and never takes all of it', () => {
  for (const memory of [64, 100, 256, 1024, 8192]) {
    const flags = Object.fromEntries(nodeFlags(memory * MIB).map((flag) => flag.split('=') as [string, string]));
    const heap = Number(flags['--max-old-space-size']) + 3 * Number(flags['--max-semi-space-size']);
    expect(heap).toBeGreaterThanOrEqual(memory * 0.6);
    expect(heap).toBeLessThanOrEqual(memory * 0.75);
  }
});
