/** Hands over to what was asked for, and ends as it ends. */

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { SetupError } from './failure.mjs';
import { ROOT } from './node.mjs';
import { isRoot } from './root.mjs';
import { summaryLine, summarize } from './summary.mjs';

/** @param {readonly string[]} args @returns {Promise<number>} */
export function runServer(args) {
  const command = [join(ROOT, 'fn'), 'server', '--examples', ...args];
  if (isRoot()) return run(command);
  console.log('Starting with sudo: making containers and cgroups needs root.');
  // sudo drops the environment; what configures fn goes with the command.
  const kept = Object.entries(process.env).filter(([key]) => key.startsWith('FN_') || key === 'REDIS_URL');
  return run(['sudo', 'env', ...kept.map(([key, value]) => `${key}=${value}`), ...command]);
}

/** Vitest, then one line that says how it went, alone and last.
 *  @param {string} node @param {readonly string[]} args files or flags for vitest @returns {Promise<number>} */
export async function runTests(node, args) {
  const directory = mkdtempSync(join(tmpdir(), 'fn-summary-'));
  const file = join(directory, 'results.json');
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  try {
    const code = await run([node, vitest, 'run', ...reporters, ...args], pathWith(node));
    const counts = summarize(readResults(file), code);
    console.log(summaryLine(counts));
    return counts.failed > 0 || counts.passed === 0 ? 1 : code;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** `npm run bench` runs bench/main.ts, `npm run bench -- warm` bench/warm.ts.
 *  @param {string} node @param {readonly string[]} args @returns {Promise<number>} */
export function runBench(node, [name = 'main', ...args]) {
  const file = join(ROOT, 'bench', `${name}.ts`);
  if (!existsSync(file)) throw new SetupError(`there is no benchmark ${name}`, 'ls bench/*.ts shows what there is');
  return run([node, file, ...args], pathWith(node));
}

/** What tests and benchmarks start as `node` must be this one.
 *  @param {string} node @returns {NodeJS.ProcessEnv} */
function pathWith(node) {
  return { PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}` };
}

/** Ctrl-C reaches the child by itself, being in the same terminal: we wait for it. What is sent to us alone is passed on.
 *  @param {readonly string[]} command @param {NodeJS.ProcessEnv} env @returns {Promise<number>} the exit code */
function run([program = '', ...args], env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: 'inherit' });
    process.on('SIGINT', () => {});
    for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal));
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** @param {string} file @returns {unknown} */
function readResults(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined; // Vitest died before it wrote any.
  }
}
