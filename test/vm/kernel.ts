/** A kernel and a static busybox for the VM: Debian's packages, fetched with apt and unpacked into a cache. Nothing is
 *  installed on the host. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface VmKernel {
  readonly image: string;
  readonly busybox: string;
}

/** Debian's kernel for virtual machines: all of cgroup v2 built in, no modules needed, small. */
const KERNEL = 'linux-image-cloud-amd64';

export async function vmKernel(cache: string): Promise<VmKernel> {
  const dir = join(cache, 'debian');
  if (!existsSync(dir)) await fetch(cache, dir);
  const image = (await readdir(join(dir, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new Error(`no kernel in ${dir}: remove it to fetch it again`);
  return { image: join(dir, 'boot', image), busybox: join(dir, 'bin/busybox') };
}

/** Complete or not at all: unpacked beside its place, then renamed. */
async function fetch(cache: string, dir: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'fetch-'));
  try {
    const options = { cwd: work, timeout: 120_000 };
    const { stdout } = await run('apt-cache', ['depends', KERNEL], options);
    const kernel = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
    if (kernel === undefined) throw new Error(`apt knows no ${KERNEL}; apt-get update may help`);
    await run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', kernel, 'busybox-static'], options);
    for (const name of await readdir(work)) await run('dpkg', ['-x', name, 'root'], options);
    await rename(join(work, 'root'), dir).catch((error: unknown) => {
      if (!existsSync(dir)) throw error; // Someone else was faster.
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
