/** A tree that is made after somebody else's wishes, without leaving its root: every component above a path is a real
 *  directory that was looked at (never a link), and a file is only ever created anew. Paths are relative, without `.`, `..`
 *  and empty components. The tree must not be written by anyone else meanwhile. */

import { chmod, link, lstat, mkdir, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../../core/units.ts';

/** Smaller files are written with one call. */
const BUFFERED: Bytes = 1 << 20;
/** Directories that a later entry replaces with something else: 0 in any real archive. */
const REPLACED_LIMIT = 100;

export class SafeTree {
  readonly #root: string;
  /** Makes the error for a wish that is not granted. */
  readonly #refuse: (why: string) => Error;
  /** Directories that were looked at and are real. */
  readonly #directories = new Set<string>(['']);
  /** Regular files that were made here: what a hard link may name. */
  readonly #files = new Set<string>();
  /** Everything that was made here. */
  readonly #made = new Set<string>();
  /** The process may be told to create files that only it can read; a sandbox must read these. */
  readonly #needsChmod = (process.umask() & 0o055) !== 0;
  #replaced = 0;

  constructor(root: string, refuse: (why: string) => Error) {
    this.#root = root;
    this.#refuse = refuse;
  }

  async file(path: string, mode: number, size: Bytes, content: AsyncIterable<Buffer>): Promise<void> {
    await this.#parents(path);
    const absolute = join(this.#root, path);
    if (size <= BUFFERED) {
      const chunks: Buffer[] = [];
      for await (const chunk of content) chunks.push(chunk);
      const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
      await this.#create(path, () => writeFile(absolute, bytes, { flag: 'wx', mode }));
    } else {
      await using file = await this.#create(path, () => open(absolute, 'wx', mode));
      for await (const chunk of content) await file.writeFile(chunk);
    }
    if (this.#needsChmod) await chmod(absolute, mode);
    this.#files.add(path);
  }

  /** One that is there stays, with all that is in it. @param mode if not 0755. */
  async directory(path: string, mode?: number): Promise<void> {
    await this.#parents(path);
    const absolute = join(this.#root, path);
    if (!this.#directories.has(path)) {
      const found = await lstatIfThere(absolute);
      if (found && !found.isDirectory()) await this.#remove(path);
      if (!found?.isDirectory()) await this.#makeDirectory(path);
      this.#directories.add(path);
    }
    this.#made.add(path);
    if (mode !== undefined) await chmod(absolute, mode);
  }

  /** @param target must have been found to stay inside (links.ts). */
  async symlink(path: string, target: string): Promise<void> {
    await this.#parents(path);
    await this.#create(path, () => symlink(target, join(this.#root, path)));
  }

  async hardLink(path: string, target: string): Promise<void> {
    if (!this.#files.has(target)) {
      throw this.#refuse(`the hard link "${path}" names "${target}", which is no file of the archive`);
    }
    if (path === target) return;
    await this.#parents(path);
    await this.#create(path, () => link(join(this.#root, target), join(this.#root, path)));
    this.#files.add(path);
  }

  /** Deletes what was in the directory before us: the one name, or all. */
  async deleteOlder(directory: string, name?: string): Promise<void> {
    if (!(await this.#isDirectory(directory))) return;
    const names = name === undefined ? await readdir(join(this.#root, directory)) : [name];
    for (const one of names) {
      const target = directory === '' ? one : `${directory}/${one}`;
      if (!this.#made.has(target)) await this.#remove(target);
    }
  }

  /** True for a real directory, false where there is nothing. */
  async #isDirectory(path: string): Promise<boolean> {
    if (this.#directories.has(path)) return true;
    const parent = parentOf(path);
    if (!(await this.#isDirectory(parent))) return false;
    const found = await lstatIfThere(join(this.#root, path));
    if (!found) return false;
    if (!found.isDirectory()) throw this.#refuse(`"${path}" is used as a directory, but is a link or a file`);
    this.#directories.add(path);
    return true;
  }

  /** Makes the directories above an entry. */
  async #parents(path: string): Promise<void> {
    const parent = parentOf(path);
    if (this.#directories.has(parent)) return;
    if (await this.#isDirectory(parent)) return;
    await this.#parents(parent);
    await this.#makeDirectory(parent);
    this.#directories.add(parent);
  }

  async #makeDirectory(path: string): Promise<void> {
    const absolute = join(this.#root, path);
    await mkdir(absolute, { mode: 0o755 });
    if (this.#needsChmod) await chmod(absolute, 0o755);
    this.#made.add(path);
  }

  /** Creates something new at a path; what was there goes first. The last entry of a name wins, as in every tar. */
  async #create<T>(path: string, create: () => Promise<T>): Promise<T> {
    let made: T;
    try {
      made = await create();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      await this.#remove(path);
      made = await create();
    }
    this.#made.add(path);
    return made;
  }

  /** `rm` does not follow links. Only what was entered as a directory has anything of ours below it. */
  async #remove(path: string): Promise<void> {
    await rm(join(this.#root, path), { recursive: true, force: true });
    this.#files.delete(path);
    this.#made.delete(path);
    if (!this.#directories.delete(path)) return;
    // Looks at every path: a bound keeps a hostile archive from making that quadratic.
    if (++this.#replaced > REPLACED_LIMIT) throw this.#refuse('the archive replaces too many directories');
    const below = `${path}/`;
    for (const set of [this.#directories, this.#files, this.#made]) {
      for (const one of set) if (one.startsWith(below)) set.delete(one);
    }
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? '' : path.slice(0, slash);
}

async function lstatIfThere(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
