/** What is in the VM, as archive entries: programs of this host with their shared libraries at the same paths, directories
 *  of the project below /fn, and the npm packages they need. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { CHARACTER_DEVICE, type CpioEntry, DIRECTORY, FILE, LINK } from './cpio.ts';

/** Collects entries, each path once, and the directories they need before them. */
export class Contents {
  readonly #entries = new Map<string, CpioEntry>();

  get entries(): readonly CpioEntry[] {
    return [...this.#entries.values()];
  }

  directory(path: string): void {
    if (path === '.' || this.#entries.has(path)) return;
    this.directory(dirname(path));
    this.#entries.set(path, { path, mode: DIRECTORY | 0o755 });
  }

  file(path: string, content: CpioEntry['content'], mode = 0o755): void {
    this.#add({ path, mode: FILE | mode, content });
  }

  link(path: string, target: string): void {
    this.#add({ path, mode: LINK | 0o777, content: target });
  }

  /** The kernel opens it for process 1 before anything is mounted. */
  console(): void {
    this.#add({ path: 'dev/console', mode: CHARACTER_DEVICE | 0o600, device: { major: 5, minor: 1 } });
  }

  /** A program of this host, at `to` or where it is here, with the shared libraries it is linked against. */
  async program(path: string, to: string = path): Promise<void> {
    this.file(to.slice(1), { file: await realpath(path) });
    for (const library of await librariesOf(path)) this.file(library.slice(1), { file: await realpath(library) });
  }

  /** A file or directory of this host, with what is below it. */
  async tree(from: string, to: string): Promise<void> {
    const entries = await readdir(from, { withFileTypes: true }).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (!entries) return this.#source(from, to);
    this.directory(to);
    for (const entry of entries) {
      const path = join(from, entry.name);
      if (entry.isDirectory()) await this.tree(path, join(to, entry.name));
      else if (entry.isSymbolicLink()) this.link(join(to, entry.name), await readlink(path));
      else if (entry.isFile()) await this.#source(path, join(to, entry.name));
    }
  }

  /** TypeScript goes in with its types stripped: node's own stripper takes 2 s to start under emulation. */
  async #source(path: string, to: string): Promise<void> {
    const isSource = path.endsWith('.ts') && !path.endsWith('.d.ts') && !path.includes('/node_modules/');
    this.file(to, isSource ? stripTypeScriptTypes(await readFile(path, 'utf8')) : { file: path });
  }

  #add(entry: CpioEntry): void {
    this.directory(dirname(entry.path));
    this.#entries.set(entry.path, entry);
  }
}

/** npm packages and all that they depend on, as directories below node_modules. */
export async function packagesWithDependencies(root: string, names: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  const visit = async (name: string, from: string): Promise<void> => {
    const dir = resolvePackage(root, name, from);
    if (dir === undefined || found.has(dir)) return; // Optional ones for other platforms are not there.
    found.add(dir);
    const manifest = JSON.parse(await readFile(join(root, dir, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
      optionalDependencies?: Record<string, string>;
    };
    for (const next of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))
      await visit(next, dir);
  };
  for (const name of names) await visit(name, '');
  return [...found];
}

/** As Node looks it up: in node_modules beside the package, then beside what contains it. */
function resolvePackage(root: string, name: string, from: string): string | undefined {
  for (let dir = from; ; dir = dir.includes('/') ? dirname(dir) : '') {
    const path = join(dir, 'node_modules', name);
    if (existsSync(join(root, path, 'package.json'))) return path;
    if (dir === '' || dir === '.') return undefined;
  }
}

/** Lines of ldd: `libm.so.6 => /lib/…/libm.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`. Static programs have none. */
async function librariesOf(path: string): Promise<string[]> {
  const text = await promisify(execFile)('ldd', [path]).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return [...text.matchAll(/(\/\S+) \(0x/g)].map(([, library = '']) => library);
}
