/** Extracts a tar archive that may be hostile. Nothing is written outside the root: every component above an entry is a
 *  real directory that was looked at (never a link), a file is only ever created anew, a hard link joins two files of this
 *  archive, and links obey links.ts. Owners, times, set-id bits and devices are not taken over; modes become 0644 or 0755.
 *  Entries, path lengths and bytes (unpacked, as they stream) are bounded. An archive that breaks a rule is refused whole;
 *  what was extracted until then is the caller's to delete. The tree must not be written by anyone else meanwhile. */

import { chmod, link, lstat, mkdir, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type ExtractEvents, type Header } from 'tar-stream';
import { FnError } from '../../core/errors.ts';
import type { Bytes } from '../../core/units.ts';
import { linkStaysInside, relativeTarget } from './links.ts';

/** What the reader really gives: no type for a flag it does not know, no link name where the field is empty. */
type Seen = Pick<Header, 'name'> & { readonly type: Header['type'] | null; readonly linkname: string | null };
/** One entry of an archive: its header, and the stream of its bytes. */
type Entry = ExtractEvents['entry'][1];

export interface ExtractLimits {
  readonly entries: number;
  /** Of the unpacked archive, headers included. */
  readonly bytes: Bytes;
  /** Of one path. Far below PATH_MAX (4096), since the root comes before it. */
  readonly pathBytes: Bytes;
}

export interface ExtractRules {
  /** `layer`: a part of a root file system. Absolute paths mean the root, whiteouts delete, devices and what lies in
   *  mount points of the kernel are left out. `package`: what a user uploaded; none of these has a place in it. */
  readonly kind: 'layer' | 'package';
  readonly limits: ExtractLimits;
  readonly signal?: AbortSignal;
}

/** Always directories in a root file system: container runtimes mount there, and followed a link (CVE-2026-41579). */
const MOUNT_POINTS = new Set(['dev', 'proc', 'sys', 'tmp', 'run', 'task', 'data']);
/** What an image has in these is never seen, or dangerous (/dev/null and /dev/console as links). */
const KERNEL_MOUNTS = new Set(['dev', 'proc', 'sys']);
const WORLD_WRITABLE = new Set(['tmp', 'var/tmp']);

/** Smaller files are written with one call. */
const BUFFERED: Bytes = 1 << 20;
const COMPONENT_LIMIT: Bytes = 255;
/** Directories of an archive that a later entry of it replaces with something else: 0 in any real one. */
const REPLACED_LIMIT = 100;

/** @throws FnError image.invalid or package.invalid, by `rules.kind`. */
export async function extractTar(input: Readable, root: string, rules: ExtractRules): Promise<void> {
  const tree = new Tree(root, rules);
  const archive = extract();
  const reading = (async () => {
    for await (const entry of archive) await tree.add(entry);
  })();
  const feeding = pipeline(input, new Cap(rules), archive, { signal: rules.signal });
  const [read, fed] = await Promise.allSettled([reading, feeding]);
  rules.signal?.throwIfAborted();
  // Whoever failed first made the other fail with "premature close" or the same error.
  for (const { reason } of [read, fed].filter((one) => one.status === 'rejected')) throw refusal(reason, rules);
}

/** Errors of the file system stay what they are; what the tar or gzip reader says is about the archive. */
function refusal(error: unknown, rules: ExtractRules): unknown {
  if (error instanceof FnError || (error as NodeJS.ErrnoException).syscall !== undefined) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new FnError(`${rules.kind === 'layer' ? 'image' : 'package'}.invalid`, `the archive is damaged: ${why}`, {
    cause: error,
  });
}

/** Lets so many bytes through. */
class Cap extends Transform {
  readonly #rules: ExtractRules;
  #left: Bytes;

  constructor(rules: ExtractRules) {
    super();
    this.#rules = rules;
    this.#left = rules.limits.bytes;
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.#left -= chunk.byteLength;
    if (this.#left >= 0) return done(null, chunk);
    const code = this.#rules.kind === 'layer' ? 'image.invalid' : 'package.invalid';
    done(new FnError(code, `the archive unpacks to more than ${this.#rules.limits.bytes} bytes`));
  }
}

/** The tree being extracted. Paths in it are relative, without `.`, `..` and empty components. */
class Tree {
  readonly #root: string;
  readonly #rules: ExtractRules;
  /** Directories that were looked at and are real. */
  readonly #directories = new Set<string>(['']);
  /** Regular files of this archive: what a hard link may name. */
  readonly #files = new Set<string>();
  /** Everything of this archive, which its own whiteouts do not delete. */
  readonly #made = new Set<string>();
  /** The process may be told to create files that only it can read; a sandbox must read these. */
  readonly #needsChmod = (process.umask() & 0o055) !== 0;
  #entries = 0;
  #replaced = 0;

  constructor(root: string, rules: ExtractRules) {
    this.#root = root;
    this.#rules = rules;
  }

  async add(entry: Entry): Promise<void> {
    const header: Seen = entry.header;
    if (++this.#entries > this.#rules.limits.entries) {
      throw this.#refuse(`the archive has more than ${this.#rules.limits.entries} entries`);
    }
    const path = this.#clean(header.name);
    if (await this.#special(header, path)) {
      await discard(entry);
      return;
    }
    switch (header.type) {
      case 'file':
      case 'contiguous-file':
        return this.#file(path, entry);
      case 'directory':
        await this.#directory(path);
        break;
      case 'symlink':
        await this.#symlink(path, header.linkname ?? '');
        break;
      case 'link':
        await this.#hardLink(path, this.#clean(header.linkname ?? ''));
        break;
      default:
        throw this.#refuse(`"${path}" is of a type that is not allowed: ${header.type ?? 'unknown'}`);
    }
    await discard(entry);
  }

  /** True when the entry is dealt with: the root itself, and what has its own meaning in a layer. */
  async #special(header: Seen, path: string): Promise<boolean> {
    const layer = this.#rules.kind === 'layer';
    if (path === '') {
      if (header.type === 'directory') return true;
      throw this.#refuse('an entry has no name');
    }
    if (!layer) return false;
    const [top = '', ...below] = path.split('/');
    if (KERNEL_MOUNTS.has(top) && below.length > 0) return true;
    if (MOUNT_POINTS.has(path) && header.type !== 'directory') {
      await this.#directory(path);
      return true;
    }
    if (path.split('/').some((part) => part.startsWith('.wh.'))) {
      await this.#whiteout(path);
      return true;
    }
    return header.type === 'character-device' || header.type === 'block-device';
  }

  async #file(path: string, entry: Entry): Promise<void> {
    const mode = (entry.header.mode & 0o111) !== 0 ? 0o755 : 0o644;
    await this.#parents(path);
    const absolute = join(this.#root, path);
    if (entry.header.size <= BUFFERED) {
      const chunks: Buffer[] = [];
      for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
      const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
      await this.#create(path, () => writeFile(absolute, bytes, { flag: 'wx', mode }));
    } else {
      await using file = await this.#create(path, () => open(absolute, 'wx', mode));
      for await (const chunk of entry as AsyncIterable<Buffer>) await file.writeFile(chunk);
    }
    if (this.#needsChmod) await chmod(absolute, mode);
    this.#files.add(path);
  }

  async #directory(path: string): Promise<void> {
    await this.#parents(path);
    if (!this.#directories.has(path)) {
      const found = await lstatIfThere(join(this.#root, path));
      if (found && !found.isDirectory()) await this.#remove(path);
      if (!found?.isDirectory()) await this.#makeDirectory(path);
      this.#directories.add(path);
    }
    this.#made.add(path);
    const absolute = join(this.#root, path);
    if (this.#rules.kind === 'layer' && WORLD_WRITABLE.has(path)) await chmod(absolute, 0o1777);
  }

  async #symlink(path: string, target: string): Promise<void> {
    const inside = this.#rules.kind === 'layer' ? relativeTarget(path, target) : target;
    if (!linkStaysInside(path, inside)) throw this.#refuse(`the link "${path}" leads outside, to "${target}"`);
    await this.#parents(path);
    await this.#create(path, () => symlink(inside, join(this.#root, path)));
  }

  async #hardLink(path: string, target: string): Promise<void> {
    if (!this.#files.has(target)) {
      throw this.#refuse(`the hard link "${path}" names "${target}", which is no file of the archive`);
    }
    if (path === target) return;
    await this.#parents(path);
    await this.#create(path, () => link(join(this.#root, target), join(this.#root, path)));
    this.#files.add(path);
  }

  /** `.wh.<name>` deletes a name that came from a layer below, `.wh..wh..opq` all of them in its directory. */
  async #whiteout(path: string): Promise<void> {
    const parts = path.split('/');
    const name = (parts.pop() ?? '').slice('.wh.'.length);
    const directory = parts.join('/');
    const opaque = name === '.wh..opq';
    if (name === '' || name === '.' || name === '..' || parts.some((part) => part.startsWith('.wh.'))) {
      throw this.#refuse(`"${path}" is a whiteout of nothing that can be deleted`);
    }
    if (!opaque && name.startsWith('.wh.')) return; // Bookkeeping of aufs.
    if (!(await this.#isDirectory(directory))) return;
    const names = opaque ? await readdir(join(this.#root, directory)) : [name];
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

  /** `rm` does not follow links. Only what was entered as a directory has anything of this archive below it. */
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

  /** `./a//b/` → `a/b`. */
  #clean(name: string): string {
    const shown = JSON.stringify(name.slice(0, 200));
    if (name.includes('\0')) throw this.#refuse(`the name ${shown} has a NUL in it`);
    if (Buffer.byteLength(name) > this.#rules.limits.pathBytes) {
      throw this.#refuse(`the name ${shown}… is longer than ${this.#rules.limits.pathBytes} bytes`);
    }
    if (this.#rules.kind === 'package' && name.startsWith('/')) throw this.#refuse(`the name ${shown} is absolute`);
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..')) throw this.#refuse(`the name ${shown} leads outside`);
    if (parts.some((part) => Buffer.byteLength(part) > COMPONENT_LIMIT)) {
      throw this.#refuse(`the name ${shown}… has a part longer than ${COMPONENT_LIMIT} bytes`);
    }
    return parts.join('/');
  }

  #refuse(why: string): FnError {
    return new FnError(this.#rules.kind === 'layer' ? 'image.invalid' : 'package.invalid', why);
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

/** An entry's stream has to end before the next entry comes. */
async function discard(entry: Entry): Promise<void> {
  for await (const _ of entry as AsyncIterable<Buffer>);
}
