/** `npm run bench`: the benchmarks that have goals, one after the other, or those that are named, with what follows them as
 *  their arguments: `npm run bench -- cold claimed`. Each is a process of its own with a clean environment: what a caller's
 *  shell exports (NODE_EXTRA_CA_CERTS costs every node 60 ms) must slow neither us nor a baseline. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { cleanEnvironment } from './support/environment.ts';
import { printMachine } from './support/machine.ts';

interface Benchmark {
  readonly about: string;
  readonly command: readonly string[];
  /** Runs when none is named. */
  readonly standard: boolean;
}

const script = (name: string): readonly string[] => [process.execPath, join(import.meta.dirname, `${name}.ts`)];

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  cold: { about: 'starts from zero, bursts, memory, protections', command: script('cold'), standard: true },
  warm: { about: 'warm calls beside nginx and bare node', command: script('warm'), standard: true },
  deploy: { about: 'a change of one file, from command to traffic', command: script('deploy'), standard: true },
  overload: { about: 'five times what a function can take', command: script('overload'), standard: false },
  connections: { about: 'memory of 10,000 functions and clients', command: script('connections'), standard: false },
  cgroup: { about: "what the worker's cgroup calls cost", command: script('cgroup'), standard: false },
  network: {
    about: 'what the network of a sandbox costs',
    command: ['unshare', '--net', '--mount', '--propagation', 'private', ...script('network')],
    standard: false,
  },
};

async function run(name: string, { about, command }: Benchmark, args: readonly string[]): Promise<number> {
  console.log(`\n== ${name}: ${about}`);
  const [program = '', ...rest] = command;
  const child = spawn(program, [...rest, ...args], { env: cleanEnvironment(), stdio: 'inherit' });
  const end = (): void => void child.kill('SIGTERM');
  process.on('SIGTERM', end);
  const [code] = (await once(child, 'exit')) as [number | null];
  process.off('SIGTERM', end);
  return code ?? 1;
}

const [name, ...args] = process.argv.slice(2);
process.on('SIGINT', () => {}); // It reaches the benchmark too, which cleans up and ends.
if (name !== undefined && !Object.hasOwn(BENCHMARKS, name)) {
  console.error(`There is no benchmark "${name}". There are:`);
  for (const [known, { about }] of Object.entries(BENCHMARKS)) console.error(`  ${known.padEnd(10)}${about}`);
  process.exitCode = 2;
} else {
  printMachine();
  for (const [known, benchmark] of Object.entries(BENCHMARKS)) {
    if (name === undefined ? !benchmark.standard : known !== name) continue;
    const code = await run(known, benchmark, args);
    if (code !== 0) process.exitCode = code;
  }
}
