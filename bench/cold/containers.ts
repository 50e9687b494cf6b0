/** What a container costs without us: `crun run node` and `runc run node` with the configuration each runtime writes by
 *  itself (namespaces and capabilities as Docker has them; no user namespace, no seccomp filter, nothing we add), on the
 *  root file system of our own base layer; `podman run` of an image of ours; and, as `crun <item>`, our own profile without
 *  one of its items, for what each costs.
 *
 *  A process of its own, told on standard input where to work and then, line by line, what to start: to use crun on a hybrid
 *  host it hides cgroup2 from itself and its children (worker/host.ts), which nobody else must notice. Answers each line
 *  with one of JSON. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { hideHybridCgroup2 } from '../../worker/host.ts';
import { untilAnswered } from '../support/call.ts';
import { cleanEnvironment } from '../support/environment.ts';
import { type Profile, profileWithout } from './profiles.ts';

interface RuntimeSpec {
  process: { terminal: boolean; args: string[]; env: string[] };
  root: { path: string; readonly: boolean };
  mounts: object[];
  linux: { cgroupsPath?: string };
}

/** The first line. */
export interface ContainersSetup {
  /** A directory to work in, removed by whoever made it. */
  readonly directory: string;
  readonly rootfs: string;
  /** An OCI layout with images of functions. */
  readonly images: string;
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { directory, rootfs, images } = JSON.parse((await lines.next()).value ?? '') as ContainersSetup;
const env = cleanEnvironment();
const shared = join(directory, 'shared');
/** Of every container's cgroup; the runtimes never remove it. */
const PARENT = `fn-bench-${process.pid}`;
let made = 0;

/** The bundle of one container, with a directory both sides see. */
function bundleFor(runtime: string, id: string, protections: Profile | undefined): string {
  const bundle = join(directory, id);
  mkdirSync(bundle, { recursive: true });
  if (!protections) spawnSync(runtime, ['spec'], { cwd: bundle, env });
  const file = join(bundle, 'config.json');
  const spec = (protections as RuntimeSpec | undefined) ?? (JSON.parse(readFileSync(file, 'utf8')) as RuntimeSpec);
  // Ours without its last word, which is the bootstrap.
  const command = protections ? spec.process.args.slice(0, -1) : ['/usr/local/bin/node'];
  spec.process = {
    ...spec.process,
    terminal: false,
    args: [...command, '/tmp/server.mjs', `/tmp/${id}.sock`],
    env: ['PATH=/usr/local/bin:/usr/bin:/bin'],
  };
  spec.root = { path: rootfs, readonly: true };
  spec.mounts.push({ destination: '/tmp', type: 'bind', source: shared, options: ['bind', 'rw'] });
  spec.linux.cgroupsPath = `/${PARENT}/${id}`;
  writeFileSync(file, JSON.stringify(spec));
  return bundle;
}

/** @param without what our profile has and this container has not; a container without our profile when undefined. */
async function timeContainer(runtime: string, without?: string): Promise<number> {
  const id = `b${made++}`;
  const profile = without === undefined ? undefined : profileWithout(without, { rootfs, task: shared });
  const bundle = bundleFor(runtime, id, profile);
  const state = join(directory, runtime);
  const began = performance.now();
  const child = spawn(runtime, ['--root', state, 'run', '--bundle', bundle, id], { env, stdio: 'ignore' });
  try {
    return await untilAnswered({ path: join(shared, `${id}.sock`) }, began, () => child.exitCode === null);
  } finally {
    await ended(child, () => spawnSync(runtime, ['--root', state, 'kill', id, 'KILL'], { env }));
    spawnSync(runtime, ['--root', state, 'delete', '-f', id], { env });
    rmSync(bundle, { recursive: true, force: true });
  }
}

async function timeHost(): Promise<number> {
  const socket = join(shared, `h${made++}.sock`);
  const began = performance.now();
  const child = spawn(process.execPath, [join(shared, 'server.mjs'), socket], { env: {}, stdio: 'ignore' });
  try {
    return await untilAnswered({ path: socket }, began, () => child.exitCode === null);
  } finally {
    await ended(child, () => child.kill('SIGKILL'));
  }
}

async function ended(child: ChildProcess, end: () => unknown): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  end();
  await gone;
}

/** podman with nothing of the machine's own: storage, state and configuration are ours. Without a container's own cgroup and
 *  network, which spares it some work. */
class Podman {
  readonly #flags: readonly string[];
  #image: string | undefined;

  constructor() {
    const own = (name: string): string => join(directory, 'podman', name);
    const storage = [
      '--root',
      own('root'),
      '--runroot',
      own('run'),
      '--tmpdir',
      own('tmp'),
      '--storage-driver',
      'overlay',
    ];
    const host = ['--cgroup-manager', 'cgroupfs', '--events-backend', 'none'];
    this.#flags = [...storage, ...host, '--runtime', 'crun', '--runtime-flag', `root=${own('crun')}`];
  }

  async time(): Promise<number> {
    this.#image ??= this.#pull();
    const name = `p${made++}`;
    const port = 20_000 + (process.pid % 20_000) + made;
    const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
    const options = ['--rm', '--name', name, '--network', 'host', '--cgroups', 'disabled', ...limits];
    const args = [...this.#flags, 'run', ...options, '--env', `PORT=${port}`, this.#image];
    const began = performance.now();
    const child = spawn('podman', args, { env, stdio: 'ignore' });
    try {
      return await untilAnswered({ host: '127.0.0.1', port }, began, () => child.exitCode === null);
    } finally {
      await ended(child, () => this.#run('rm', '--force', '--time', '0', name));
    }
  }

  end(): void {
    if (this.#image !== undefined) this.#run('rmi', '--all', '--force');
  }

  #pull(): string {
    const index = readFileSync(join(images, 'index.json'), 'utf8');
    const reference = /"org.opencontainers.image.ref.name":"([^"]+)"/.exec(index)?.[1] ?? '';
    // A path relative to the working directory: podman makes a name of it, which must be lower case.
    return this.#run('pull', '--quiet', `oci:${basename(images)}:${reference}`).trim();
  }

  #run(...args: readonly string[]): string {
    const { stdout, stderr, status } = spawnSync('podman', [...this.#flags, ...args], {
      cwd: dirname(images),
      env,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`podman ${args[0]}: ${stderr}`);
    return stdout;
  }
}

mkdirSync(shared, { recursive: true });
chmodSync(shared, 0o777); // With our profile what runs is nobody on the host.
chmodSync(directory, 0o711);
cpSync(join(import.meta.dirname, 'server.mjs'), join(shared, 'server.mjs'));
const decoy = hideHybridCgroup2();
const podman = new Podman();
for await (const what of { [Symbol.asyncIterator]: () => lines }) {
  try {
    const [program = '', without] = what.split(' ');
    const ms = await (what === 'node'
      ? timeHost()
      : what === 'podman'
        ? podman.time()
        : timeContainer(program, without));
    console.log(JSON.stringify({ ms }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
podman.end();
for (const hierarchy of readdirSync('/sys/fs/cgroup')) {
  const group = join('/sys/fs/cgroup', hierarchy, PARENT);
  if (existsSync(group) && !decoy?.path.endsWith(`/${hierarchy}`)) rmdirSync(group);
}
