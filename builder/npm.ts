/** Runs npm, as a process group that ends with the build. Install scripts are someone else's code and stay off
 *  (docs/decisions/002-images.md); so do git dependencies, since fetching one runs git, and may run scripts, with the
 *  configuration of a stranger's repository. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { FnError } from '../core/errors.ts';
import { formatDuration, type Millis } from '../core/units.ts';

export interface NpmRun {
  readonly command: 'ci' | 'install';
  /** Holds package.json; node_modules appears in it. */
  readonly directory: string;
  readonly cache: string;
  readonly env: NodeJS.ProcessEnv;
  readonly timeout: Millis;
  readonly signal?: AbortSignal;
}

/** Characters kept of what npm says: the last ones. */
const OUTPUT_LIMIT = 64 * 1024;
const SHOWN_LINES = 15;

/** What the user's npm needs to reach the user's registry. Not the rest: the platform may itself have been started by npm,
 *  whose settings for that (prefix, omit, …) are not meant for a function. */
const PASSED_ON = [
  /^(PATH|HOME|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR)$/,
  /^(https?_proxy|no_proxy|all_proxy)$/i,
  /^npm_config_(registry|userconfig|globalconfig|cafile|ca|cert|key|proxy|https?_proxy|noproxy|strict_ssl)$/i,
  /^npm_config_(maxsockets|fetch_.+|before|min_release_age|_.+|\/\/.+|@.+)$/i,
];

export function npmEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => PASSED_ON.some((pattern) => pattern.test(name))));
}

/** @throws FnError build.dependency with npm's last lines, machine.unsupported without npm; the signal's reason. */
export async function runNpm(run: NpmRun): Promise<void> {
  const env = npmEnvironment(run.env);
  const [file, ...first] = await npmCommand(env['PATH'] ?? '');
  const flags = [
    '--omit=dev',
    '--ignore-scripts',
    '--allow-git=none', // npm ≥ 11.10; the next one serves for all.
    '--git=/bin/false',
    `--prefix=${run.directory}`,
    `--cache=${run.cache}`,
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--no-color',
    '--no-progress',
    '--logs-max=0',
  ];
  // An archive the lock file names by its hash cannot have changed since it was cached.
  if (run.command === 'ci') flags.push('--prefer-offline');
  const child = spawn(file, [...first, run.command, ...flags], {
    cwd: run.directory,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // A group of its own, to be ended with its children.
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_LIMIT);
    });
  }
  const deadline = AbortSignal.timeout(run.timeout);
  const stop = run.signal ? AbortSignal.any([run.signal, deadline]) : deadline;
  const kill = (): void => killGroup(child.pid);
  stop.addEventListener('abort', kill, { once: true });
  if (stop.aborted) kill();
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    run.signal?.throwIfAborted();
    if (code === 0) return;
    throw failure(run, output, deadline.aborted);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall?.startsWith('spawn')) throw noNpm(cause);
    throw cause;
  } finally {
    stop.removeEventListener('abort', kill);
    kill(); // Whatever npm left running.
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** npm from the PATH. Where it is the usual script our own node runs it, whichever node is installed beside it. */
async function npmCommand(path: string): Promise<[string, ...string[]]> {
  for (const directory of path.split(delimiter)) {
    if (directory === '') continue;
    const found = await realpath(join(directory, 'npm')).catch(() => undefined); // Not in this one.
    if (found?.endsWith('.js')) return [process.execPath, found];
    if (found) return [found];
  }
  throw noNpm();
}

function noNpm(cause?: unknown): FnError {
  return new FnError('machine.unsupported', 'npm is not in the PATH; it installs the dependencies of functions', {
    hint: 'apt-get install npm',
    cause,
  });
}

function failure({ command, timeout }: NpmRun, output: string, timedOut: boolean): FnError {
  const lines = output
    .split('\n')
    .map((line) => line.replace(/^npm (?:error|ERR!) ?/, '').trimEnd())
    .filter(
      (line) => line !== '' && !/^A complete log of this run|^\s+.*-debug-\d+\.log$|^Log files were not/.test(line),
    );
  const logs = saying(lines).slice(-SHOWN_LINES);
  if (timedOut) {
    return new FnError('build.dependency', `npm ${command} did not end within ${formatDuration(timeout)}`, {
      logs,
      hint: 'Deploy again: what was downloaded is kept. FN_BUILD_TIMEOUT_MS sets the limit.',
    });
  }
  const first = lines.find((line) => !/^(code|npm warn|errno|syscall) /.test(line)) ?? 'it said nothing';
  const outOfStep = /package\.json and package-lock\.json .*in sync/.test(first);
  return new FnError('build.dependency', `npm ${command} failed: ${first}`, {
    logs,
    ...(outOfStep && {
      hint: 'Run "npm install" in the function\'s directory, which brings package-lock.json up to date.',
    }),
  });
}

/** Without the usage that npm prints below some failures, which would push what failed out of sight. */
function saying(lines: readonly string[]): readonly string[] {
  const usage = lines.findIndex((line) => /^(Usage:|Clean install a project|Install a package)$/.test(line));
  return usage > 0 ? lines.slice(0, usage) : lines;
}
