/** Runs a program whose output matters only when it fails, while showing that it is at work. */

import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** npm says what is wrong first, apt last. */
const KEPT_LINES = 10;
const DEADLINE_MS = 20 * 60_000;

/** @param {string} what shown while it runs
 *  @param {readonly string[]} command
 *  @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} options
 *  @returns {Promise<string | undefined>} the last lines of its output when it failed */
export function runQuietly(what, [program = '', ...args], options = {}) {
  const began = performance.now();
  const seconds = () => `${Math.round((performance.now() - began) / 1000)} s`;
  const terminal = process.stdout.isTTY;
  /** @type {string[]} */
  let first = [];
  /** @type {string[]} */
  let last = [];
  const tick = () => {
    const line = `  ${what} ${seconds()} ${(last.at(-1) ?? first.at(-1) ?? '').slice(0, 80)}`;
    if (terminal) process.stdout.write(`\r\x1b[K${line}`);
    else console.log(line);
  };
  // In a log a line every ten seconds is enough.
  const timer = setInterval(tick, terminal ? 500 : 10_000);
  return new Promise((resolve) => {
    // stdin stays: sudo may ask for a password.
    const child = spawn(program, args, { ...options, stdio: ['inherit', 'pipe', 'pipe'], timeout: DEADLINE_MS });
    /** @param {string | undefined} failure */
    const end = (failure) => {
      clearInterval(timer);
      if (terminal) process.stdout.write('\r\x1b[K');
      if (failure === undefined) console.log(`  ${what} done, ${seconds()}`);
      resolve(failure);
    };
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
        const lines = text.split(/[\r\n]+/).filter((line) => line !== '' && !line.startsWith('npm warn'));
        const room = KEPT_LINES - first.length;
        first = [...first, ...lines.slice(0, room)];
        last = [...last, ...lines.slice(room)].slice(-KEPT_LINES);
      });
    }
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) => {
      end(code === 0 ? undefined : [...first, ...last, `${program} ended with ${signal ?? `code ${code}`}`].join('\n'));
    });
  });
}
