/** Runs the probe of each protection twice, in a container with the profile and in one without that protection, and prints a
 *  line of JSON for each: `{"name","with","without","held","open"}`. The containers are made here rather than by the worker,
 *  which makes no other than the full profile. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { chmod, chown, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadConfig } from '../../core/config.ts';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';
import { testDirectory } from '../support/directory.ts';
import type { Profile, Protection, Scene } from './cases/protection.ts';
import { PROTECTIONS } from './cases/protections.ts';
import { proberDirectory } from './support/prober.ts';
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
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const names = ['ipc', 'cgroup', 'uts'];
  return {
    port: (server.address() as AddressInfo).port,
    hostPid: process.pid,
    namespaces: Object.fromEntries(names.map((name) => [name, readlinkSync(`/proc/self/ns/${name}`)])),
    async [Symbol.asyncDispose]() {
      server.close();
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

/** What the probe printed; undefined when it did not live to print anything. */
async function valueOf(profile: Profile): Promise<unknown> {
  const id = `protection-${made++}`;
  const bundle = join(directory.path, id);
  const output = join(bundle, 'output');
  const state = join(directory.path, 'state');
  const runc = (command: string, ...args: readonly string[]): Promise<unknown> =>
    run('sh', ['-c', 'exec runc "$@" </dev/null >>"$0" 2>&1', output, '--root', state, command, ...args, id], {
      timeout: WITHIN,
    });
  profile.linux.cgroupsPath = cgroups.ociPath(id);
  await mkdir(bundle);
  await writeFile(join(bundle, 'config.json'), JSON.stringify(profile));
  try {
    await runc('run', '--bundle', bundle).catch(() => {}); // With the status of what it ran.
    const text = await readFile(output, 'utf8');
    const json = text.split('\n').findLast((line) => /^["[{\d]/.test(line) && !line.startsWith('[INFO'));
    if (json === undefined && text.includes('level=error')) throw new Error(text);
    return json === undefined ? undefined : (JSON.parse(json) as unknown);
  } finally {
    const group = cgroups.open(id);
    await group.kill();
    await group.remove();
    group[Symbol.dispose]();
    await rm(join(state, id), { recursive: true, force: true });
    await rm(bundle, { recursive: true });
  }
}

/** What was printed under the full profile: several protections have the same probe. */
const known = new Map<string, Promise<unknown>>();

async function resultOf(protection: Protection, scene: Scene): Promise<ProtectionResult> {
  const { name, remove, also, probe, args, held, open = (value) => !held(value, scene) } = protection;
  const make = (): Profile => {
    const profile = profileFor(probe, args?.(scene) ?? {});
    also?.(profile);
    return profile;
  };
  const full = make();
  const key = JSON.stringify(full);
  if (!known.has(key)) known.set(key, valueOf(full));
  const value = await known.get(key);
  const mutated = make();
  remove(mutated);
  const other = await valueOf(mutated);
  return { name, with: value, without: other, held: held(value, scene), open: open(other, scene) };
}

await using scene = await prepare();
const waiting = PROTECTIONS.values();
const client = async (): Promise<void> => {
  for (const protection of waiting) {
    const result = await resultOf(protection, scene).catch((error: unknown) => ({
      name: protection.name,
      error: error instanceof Error ? error.message : String(error),
    }));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, client));
