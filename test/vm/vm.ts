/** Runs a script in a small virtual machine whose kernel has cgroup v2 and nothing else: what most users' machines have and
 *  the machine at hand may not. QEMU emulates it, so no /dev/kvm is needed (one that was there hung): it boots in 2–3 s, and
 *  node starts in 0.3–2 s.
 *
 *  The initramfs holds everything: node, crun and tini with their libraries (the cached base), then the parts of the project
 *  that the script needs. Two serial lines come out: the console (kernel, standard error) and the script's output. */

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { findProgram } from '../../core/processes.ts';
import type { Bytes, Millis } from '../../core/units.ts';
import { Contents, packagesWithDependencies } from './contents.ts';
import { appendCpio } from './cpio.ts';
import { vmKernel } from './kernel.ts';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, 'node_modules/.cache/fn-vm');
const QEMU = 'qemu-system-x86_64';
/** A script that prints more is stopped. */
const OUTPUT_LIMIT: Bytes = 16 * 2 ** 20;

export interface VmOptions {
  /** Files and directories of the project that go to /fn, the script's working directory. */
  readonly project?: readonly string[];
  /** npm packages; what they depend on comes along. */
  readonly packages?: readonly string[];
  /** Further programs of this host, by absolute path; their libraries come along. node, crun and tini-static are there, and
   *  busybox for everything else, /bin/sh too. */
  readonly programs?: readonly string[];
  readonly memoryMiB?: number;
  readonly within?: Millis;
}

export interface VmResult {
  /** Standard output. */
  readonly stdout: string;
  /** Kernel messages and standard error. */
  readonly console: string;
  readonly exitCode: number;
}

/** Why no VM can run here, in words for whoever sets the machine up; undefined when one can. */
export async function vmUnavailable(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the VM needs Linux on x86-64';
  if (findProgram(QEMU) === undefined) return `${QEMU} is not installed (Debian: apt-get install qemu-system-x86)`;
  return vmKernel(CACHE).then(
    () => undefined,
    (error: unknown) => `no kernel for the VM: ${error instanceof Error ? error.message : String(error)}`,
  );
}

/** Boots a VM, runs the shell script as root in /fn, returns what it printed. Fails when the VM does not come to its end
 *  within the time, with the console's last lines. */
export async function runInVm(script: string, options: VmOptions = {}): Promise<VmResult> {
  const { project = ['core', 'worker', 'package.json'], packages = ['koffi'], programs = [] } = options;
  const { memoryMiB = 3072, within = 120_000 } = options;
  const kernel = await vmKernel(CACHE);
  const dir = await mkdtemp(join(tmpdir(), 'fn-vm-'));
  try {
    const end = randomBytes(8).toString('hex');
    const initramfs = join(dir, 'initramfs');
    await copyFile(await baseArchive(kernel.busybox), initramfs, constants.COPYFILE_FICLONE);
    const contents = new Contents();
    contents.file('vm/script.sh', `${script}\n`);
    contents.file('vm/end', end);
    contents.file('vm/seconds', `${Math.ceil(within / 1000)}`);
    contents.directory('fn');
    for (const path of [...project, ...(await packagesWithDependencies(ROOT, packages))]) {
      await contents.tree(join(ROOT, path), join('fn', path));
    }
    for (const path of programs) await contents.program(path);
    await appendCpio(initramfs, contents.entries);

    const args = ['-machine', 'pc', '-accel', 'tcg,thread=multi', '-smp', '2', '-m', `${memoryMiB}`];
    args.push('-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot');
    args.push('-kernel', kernel.image, '-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1');
    args.push('-serial', `file:${join(dir, 'console')}`, '-serial', 'stdio');
    const output = await collect(QEMU, args, within);
    const log = await readFile(join(dir, 'console'), 'utf8').catch(() => '');
    const [, stdout, code] = new RegExp(`^([^]*)\\n${end} (\\d+)\\n`).exec(output) ?? [];
    if (stdout === undefined) {
      throw new Error(`the VM did not finish its script within ${within} ms\n${output}\n${log.slice(-4000)}`);
    }
    return { stdout, console: log, exitCode: Number(code) };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Programs that every VM has. Cached by what they are: node alone is 120 MB. */
async function baseArchive(busybox: string): Promise<string> {
  const contents = new Contents();
  contents.console();
  for (const dir of ['proc', 'new', 'etc', 'busybox']) contents.directory(dir);
  contents.file('init', await readFile(join(import.meta.dirname, 'init.sh')));
  contents.file('vm/plain-ts.mjs', await readFile(join(import.meta.dirname, 'plain-ts.mjs')));
  contents.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n', 0o644);
  contents.file('etc/group', 'root:x:0:\n', 0o644);
  contents.file('bin/busybox', { file: busybox });
  contents.link('bin/sh', 'busybox');
  await contents.program(process.execPath, '/usr/local/bin/node');
  for (const path of [findProgram('crun'), findProgram('tini-static')])
    if (path !== undefined) await contents.program(path);

  const key = createHash('sha256');
  for (const { path, mode, content = '' } of contents.entries) {
    key.update(`${path}\0${mode}\0`);
    if (typeof content === 'string' || content instanceof Uint8Array) key.update(content);
    else key.update(await stat(content.file).then(({ size, mtimeMs, ino }) => `${size} ${mtimeMs} ${ino}`));
  }
  const archive = join(CACHE, `base-${key.digest('hex').slice(0, 16)}.cpio`);
  if (await exists(archive)) return archive;
  await mkdir(CACHE, { recursive: true });
  for (const old of await readdir(CACHE)) {
    if (old.startsWith('base-') && old !== basename(archive)) await rm(join(CACHE, old), { force: true });
  }
  const work = await mkdtemp(join(CACHE, 'work-'));
  try {
    await appendCpio(join(work, 'base'), contents.entries);
    await rename(join(work, 'base'), archive);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return archive;
}

/** What the program wrote to standard output until it ended, was too much, or took too long. */
async function collect(program: string, args: readonly string[], within: Millis): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: within, killSignal: 'SIGKILL' });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of child.stdout) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > OUTPUT_LIMIT) child.kill('SIGKILL');
  }
  return Buffer.concat(chunks).toString();
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
