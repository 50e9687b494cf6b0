/** A whole platform for a test: `fn server` in a home of its own on free ports, with real Redis, real containers and real
 *  HTTP. Disposing of it stops it and fails when anything of it is left on the machine. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Api } from '../../cli/api.ts';
import { type DeployDone, deployDirectory } from '../../cli/deploy.ts';
import { type Config, loadConfig } from '../../core/config.ts';
import { readContext } from '../../core/context.ts';
import type { InvocationStatus } from '../../core/control.ts';
import { type FnError, toFnError } from '../../core/errors.ts';
import type { ProcessReport } from '../../core/queues.ts';
import type { Millis } from '../../core/units.ts';
import { type CommandOptions, fn, type Outcome } from './command.ts';
import { eventually } from './eventually.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_WITHIN: Millis = 60_000;

export interface TestPlatform extends AsyncDisposable {
  readonly config: Config;
  readonly api: Api;
  readonly gatewayUrl: string;
  /** Everything the platform printed. */
  readonly output: () => string;
  /** Deploys a directory of functions/ or an absolute path. */
  deploy(directory: string): Promise<DeployDone>;
  /** Writes the files into a new directory and deploys it. fn.yaml is given as text, or made from a name. */
  deployFiles(files: Readonly<Record<string, string>>): Promise<DeployDone>;
  /** The error such a deploy ends with. */
  refusal(files: Readonly<Record<string, string>>): Promise<FnError>;
  call(path: string, init?: RequestInit): Promise<Response>;
  /** Submits an asynchronous invocation and returns its id. */
  submit(path: string, body: unknown): Promise<string>;
  /** Waits until it has ended. */
  settled(id: string, within?: Millis): Promise<InvocationStatus>;
  /** Host pids of the processes of a role. */
  pids(role: ProcessReport['role'] | 'redis'): Promise<number[]>;
  /** Host pids of the sandboxes' first processes, by instance id. */
  instances(name: string): Promise<{ id: string; pid: number }[]>;
  removeAll(): Promise<void>;
  /** Runs the fn command in its home. */
  fn(args: readonly string[], options?: CommandOptions): Promise<Outcome>;
  /** What the command prints with --json. */
  fnJson<T>(args: readonly string[], options?: CommandOptions): Promise<T>;
  /** SIGTERM, then waits for its end. */
  stop(): Promise<number | null>;
}

/** @param env settings; a given FN_HOME is used, and left to the caller. */
export async function startPlatform(env: Readonly<Record<string, string>> = {}): Promise<TestPlatform> {
  const given = env['FN_HOME'];
  const home = given ?? (await mkdtemp(join(tmpdir(), 'fnt-')));
  const settings = { FN_HOME: home, FN_GATEWAY_PORT: '0', FN_API_PORT: '0', FN_NODE: 'test', ...env };
  const config = loadConfig(settings);
  let output = '';
  const server = launch(settings, (text) => (output += text));
  const exited = once(server, 'exit') as Promise<[number | null]>;
  try {
    await Promise.race([
      eventually(() => ready(home), READY_WITHIN),
      exited.then(([code]) => {
        throw new Error(`fn server exited with ${code}:\n${output}`);
      }),
    ]);
  } catch (error) {
    server.kill('SIGTERM');
    await exited;
    throw new Error(`fn server did not start:\n${output}`, { cause: error });
  }
  const api = await Api.open(config);
  const { gatewayUrl } = api.context;
  let made = 0;

  const deploy = (directory: string): Promise<DeployDone> => {
    const path = directory.startsWith('/') ? directory : join(ROOT, 'functions', directory);
    return deployDirectory(api, path, () => {}, AbortSignal.timeout(120_000));
  };
  const deployFiles = async (files: Readonly<Record<string, string>>): Promise<DeployDone> => {
    const directory = join(home, 'sources', String(made++));
    for (const [name, text] of Object.entries(files)) {
      await mkdir(join(directory, name, '..'), { recursive: true });
      await writeFile(join(directory, name), text);
    }
    return deploy(directory);
  };
  const platform: TestPlatform = {
    config,
    api,
    gatewayUrl,
    output: () => output,
    deploy,
    deployFiles,
    async refusal(files) {
      try {
        await deployFiles(files);
      } catch (error) {
        return toFnError(error);
      }
      throw new Error('the deploy was accepted');
    },
    call: (path, init = {}) => fetch(new URL(path, gatewayUrl), { signal: AbortSignal.timeout(60_000), ...init }),
    async submit(path, body) {
      const response = await platform.call(path, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.fn.event+json' }, // The body is the event itself.
        body: JSON.stringify(body),
      });
      if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
      return ((await response.json()) as { id: string }).id;
    },
    settled: (id, within = 60_000) =>
      eventually(async () => {
        const response = await platform.call(`/invocations/${id}`);
        const status = (await response.json()) as InvocationStatus;
        if (status.state !== 'completed' && status.state !== 'failed') throw new Error(JSON.stringify(status));
        return status;
      }, within),
    async pids(role) {
      if (role === 'redis') return processesMatching(config.paths.redisSocket);
      return descendantsOf(server.pid ?? 0).filter((pid) => commandOf(pid).at(-1) === role);
    },
    async instances(name) {
      const detail = await api.get<{ instances: { id: string; state: string }[] }>(`/v1/functions/${name}`);
      return detail.instances
        .filter(({ state }) => state === 'ready')
        .flatMap(({ id }) => {
          const pid = sandboxPid(config, id.slice(-8));
          return pid === undefined ? [] : [{ id, pid }];
        });
    },
    async removeAll() {
      const functions = await api.get<{ name: string }[]>('/v1/functions');
      for (const { name } of functions) await api.call(`/v1/functions/${name}?wait=true`, { method: 'DELETE' });
    },
    fn: (args, options = {}) => fn(args, { ...options, env: { FN_HOME: home, ...options.env } }),
    fnJson: async <T>(args: readonly string[], options?: CommandOptions): Promise<T> =>
      JSON.parse((await platform.fn([...args, '--json'], options)).stdout) as T,
    async stop() {
      if (server.exitCode === null && server.signalCode === null) server.kill('SIGTERM');
      const [code] = await exited;
      return code;
    },
    async [Symbol.asyncDispose]() {
      await platform.stop();
      const left = leftovers(config);
      if (process.env['FN_TEST_KEEP'])
        await cp(config.paths.logs, '/tmp/fnt-last-logs', { recursive: true, force: true });
      if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}\n${output}`);
      if (given === undefined) await rm(home, { recursive: true, force: true });
    },
  };
  return platform;
}

function launch(settings: Readonly<Record<string, string>>, onText: (text: string) => void): ChildProcess {
  const child = spawn(process.execPath, [join(ROOT, 'cli/main.ts'), 'server', '--json'], {
    // Like a user's shell, but without what this machine adds to every process.
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...npmSettings(), ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => onText(String(chunk)));
  return child;
}

/** What npm needs to reach its registry from here. */
function npmSettings(): Record<string, string | undefined> {
  const names = Object.keys(process.env).filter((name) =>
    /^(npm_config_|NODE_EXTRA_CA_CERTS$|https?_proxy$)/i.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

async function ready(home: string): Promise<void> {
  const context = await readContext(home);
  if (!context) throw new Error('no context yet');
  const status = await new Api(context).get<{ processes: { role: string; healthy: boolean }[] }>('/v1/status');
  const healthy = new Set(status.processes.filter((one) => one.healthy).map(({ role }) => role));
  for (const role of ['gateway', 'worker', 'controller', 'builder']) {
    if (!healthy.has(role)) throw new Error(`${role} is not healthy yet`);
  }
}

/** Everything of a platform that is still on this machine: processes, mounts, cgroups, network namespaces, sockets. */
export function leftovers(config: Config): string[] {
  const { home, instanceOfPlatform } = config;
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[1] ?? [])
    .filter((target) => target.startsWith(home));
  const cgroups = list('/sys/fs/cgroup')
    .flatMap((name) => [name, ...list(`/sys/fs/cgroup/${name}`).map((inner) => `${name}/${inner}`)])
    .filter((path) => path.endsWith(`fn-${instanceOfPlatform}`));
  const netns = list('/run/netns').filter((name) => name.includes(instanceOfPlatform));
  const links = list('/sys/class/net').filter((name) => name.includes(instanceOfPlatform));
  const tables = spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout ?? '';
  const sockets = list(config.paths.run);
  const processes = processesMatching(home).map((pid) => `${pid} ${commandOf(pid).join(' ')}`);
  return [
    ...mounts.map((one) => `mount ${one}`),
    ...cgroups.map((one) => `cgroup ${one}`),
    ...netns.map((one) => `network namespace ${one}`),
    ...links.map((one) => `network link ${one}`),
    ...(tables.includes(instanceOfPlatform) ? [`nftables table of ${instanceOfPlatform}`] : []),
    ...sockets.map((one) => `socket ${one}`),
    ...processes.map((one) => `process ${one}`),
  ];
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function allPids(): number[] {
  return list('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

export function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
  } catch {
    return [];
  }
}

function processesMatching(text: string): number[] {
  return allPids().filter((pid) => pid !== process.pid && commandOf(pid).join(' ').includes(text));
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return 0;
  }
}

function descendantsOf(root: number): number[] {
  const pids = allPids();
  return pids.filter((pid) => {
    for (let up = pid, steps = 0; up > 1 && steps < 10; up = parentOf(up), steps++)
      if (up === root) return pid !== root;
    return false;
  });
}

function sandboxPid(config: Config, sandbox: string): number | undefined {
  try {
    const state = readFileSync(join(config.paths.sandboxes, sandbox, 'state.json'), 'utf8');
    return (JSON.parse(state) as { pid: number }).pid;
  } catch {
    return undefined;
  }
}
