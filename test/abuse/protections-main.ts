/** Runs the probe of each protection twice, in a container with the profile and in one without that protection, and prints a
 *  line of JSON for each: `{"name","with","without","held","open"}`. The containers are made here rather than by the worker,
 *  which makes no other than the full profile. To be started in a mount namespace of its own (`unshare --mount`): what some
 *  containers mount comes out, which is what is tried. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readlinkSync } from 'node:fs';
import { chmod, chown, copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadConfig } from '../../core/config.ts';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { hideHybridCgroup2 } from '../../worker/host.ts';
import { mount, MS_BIND, MS_SHARED, unmount } from '../../worker/native.ts';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';
import { eventually } from '../support/eventually.ts';
import { testDirectory } from '../support/directory.ts';
import type { Profile, Protection, Scene } from './cases/protection.ts';
import { PROTECTIONS } from './cases/protections.ts';
import { proberDirectory } from './support/prober.ts';
import { smallestProgram } from './support/program.ts';
import { makeRootfs } from './support/rootfs.ts';

export interface ProtectionResult {
  readonly name: string;
  readonly with: unknown;
  readonly without: unknown;
  readonly held: boolean;
  readonly open: boolean;
}

const MEMORY = 256 * 2 ** 20;
const HOST_ID = 1_500_000_000;
const AT_ONCE = 3;
let made = 0;
const WITHIN = 30_000;

const run = promisify(execFile);
await using directory = await testDirectory();
await using prober = await proberDirectory('name: prober');
const config = loadConfig({ FN_HOME: directory.path });
hideHybridCgroup2(); // For crun, which a few of them need.
const cgroups = openCgroups(config.instanceOfPlatform);
const rootfs = join(directory.path, 'rootfs');

async function prepare(): Promise<Scene & AsyncDisposable> {
  await cgroups.prepare();
  await chmod(directory.path, 0o711);
  await chmod(prober.path, 0o1777); // So that nothing but its mount keeps it from being written.
  await makeRootfs(rootfs);
  const setuid = join(rootfs, 'usr/local/bin/setuid-init');
  await copyFile(join(rootfs, 'sbin/fn-init'), setuid);
  await chown(setuid, HOST_ID, HOST_ID); // Root of the container; one of the host would be nobody.
  await chmod(setuid, 0o4755);
  await mkdir(join(rootfs, 'open'));
  await chmod(join(rootfs, 'open'), 0o1777);
  const secret = join(rootfs, 'etc/of-host-user-1000');
  await writeFile(secret, 'secret', { mode: 0o600 });
  await chown(secret, 1000, 1000);
  await run('mknod', ['-m', '666', join(rootfs, 'fuse'), 'c', '10', '229']);
  await run('mknod', ['-m', '666', join(prober.path, 'null'), 'c', '1', '3']);
  const program = join(prober.path, 'setuid-program');
  await writeFile(program, smallestProgram());
  await chown(program, HOST_ID, HOST_ID);
  await chmod(program, 0o4755);
  const shared = join(directory.path, 'shared');
  await cp(prober.path, shared, { recursive: true, filter: (path) => !path.endsWith('/null') });
  await chmod(shared, 0o755);
  await mkdir(join(shared, 'later'));
  mount(shared, shared, null, MS_BIND);
  mount('none', shared, null, MS_SHARED);
  const marked = join(directory.path, 'marked');
  await mkdir(marked);
  await writeFile(join(marked, 'marker'), '');
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const names = ['ipc', 'cgroup', 'uts'];
  return {
    port: (server.address() as AddressInfo).port,
    hostPid: process.pid,
    namespaces: Object.fromEntries(names.map((name) => [name, readlinkSync(`/proc/self/ns/${name}`)])),
    shared,
    marked,
    async [Symbol.asyncDispose]() {
      server.close();
      while (unmount(shared));
      await cgroups.remove();
    },
  };
}

function profileFor(probe: string, args: Readonly<Record<string, string | number>>): Profile {
  const profile = sandboxProfile({
    rootfs,
    task: prober.path,
    cgroupsPath: '',
    hostId: HOST_ID,
    memory: MEMORY,
    networkNamespace: undefined,
    nodeFlags: [],
    arch: process.arch,
  }) as Profile;
  const words = [...probe.split('/'), ...Object.entries(args).map(([name, value]) => `${name}=${value}`)];
  profile.process.args.splice(-1, 1, '/task/run.js', ...words);
  return profile;
}

/** What the probe printed, or what was seen from outside; undefined when it did not live to print anything. */
async function valueOf(profile: Profile, protection: Protection): Promise<unknown> {
  const { driver = 'runc', meanwhile, outside } = protection;
  const id = `protection-${made++}`;
  const bundle = join(directory.path, id);
  const output = join(bundle, 'output');
  const state = join(directory.path, 'state', driver);
  const runtime = (command: string, ...args: readonly string[]): Promise<unknown> =>
    // Its output is a file: a container that is created keeps it open.
    run('sh', ['-c', 'exec "$@" </dev/null >>"$0" 2>&1', output, driver, '--root', state, command, ...args, id], {
      timeout: WITHIN,
    });
  profile.linux.cgroupsPath = cgroups.ociPath(id);
  await mkdir(bundle);
  await mkdir(state, { recursive: true });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(profile));
  try {
    if (meanwhile || outside) {
      await runtime('create', '--bundle', bundle, '--pid-file', join(bundle, 'pid'));
      const pid = Number(await readFile(join(bundle, 'pid'), 'utf8'));
      if (outside) return outside(pid);
      await meanwhile?.(pid, scene);
      await runtime('start');
      await eventually(() => {
        if (existsSync(`/proc/${pid}/exe`)) throw new Error('it has not ended');
      }, WITHIN);
    } else await runtime('run', '--bundle', bundle).catch(() => {}); // With the status of what it ran.
    const text = await readFile(output, 'utf8');
    const json = text.split('\n').findLast((line) => /^["[{\dtf]/.test(line) && !line.startsWith('[INFO'));
    if (json === undefined && /level=error|^\d{4}-.*error/m.test(text)) throw new Error(text);
    const value = json === undefined ? undefined : (JSON.parse(json) as unknown);
    return protection.afterwards ? { said: value, seen: protection.afterwards(scene) } : value;
  } catch (error) {
    throw new Error(await readFile(output, 'utf8').catch(() => ''), { cause: error });
  } finally {
    const group = cgroups.open(id);
    await group.kill();
    await group.remove();
    group[Symbol.dispose]();
    if (usesShared(protection)) while (unmount(join(scene.shared, 'later')));
    await rm(join(state, id), { recursive: true, force: true });
    await rm(bundle, { recursive: true });
  }
}

/** They share what is mounted on the host, so they run one after the other. */
function usesShared({ meanwhile, afterwards }: Protection): boolean {
  return meanwhile !== undefined || afterwards !== undefined;
}

/** What came of it, by all that matters to it: several protections have the same probe. */
const known = new Map<string, Promise<unknown>>();

function valueFor(protection: Protection, change?: (profile: Profile) => void): Promise<unknown> {
  const { name, probe, args, also, driver, outside } = protection;
  const profile = profileFor(probe, args?.(scene) ?? {});
  also?.(profile, scene);
  change?.(profile);
  const key = JSON.stringify([profile, driver, usesShared(protection) || outside ? name : '']);
  const value = known.get(key) ?? valueOf(profile, protection);
  known.set(key, value);
  return value;
}

async function resultOf(protection: Protection): Promise<ProtectionResult> {
  const { name, remove, held, open = (value) => !held(value, scene) } = protection;
  const value = await valueFor(protection);
  const other = await valueFor(protection, remove);
  return { name, with: value, without: other, held: held(value, scene), open: open(other, scene) };
}

await using scene = await prepare();
const client = async (waiting: Iterable<Protection>): Promise<void> => {
  for (const protection of waiting) {
    const result = await resultOf(protection).catch((error: unknown) => ({
      name: protection.name,
      error: error instanceof Error ? error.message : String(error),
    }));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
};
const alone = PROTECTIONS.filter(usesShared);
const others = PROTECTIONS.filter((one) => !usesShared(one)).values();
await Promise.all([client(alone), ...Array.from({ length: AT_ONCE - 1 }, () => client(others))]);
