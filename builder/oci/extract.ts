/** Extracts a tar archive that may be hostile. Nothing is written outside the root (safe-tree.ts), a hard link joins two
 *  files of this archive, and links obey links.ts. Owners, times, set-id bits and devices are not taken over; modes become
 *  0644 or 0755. Entries, path lengths and bytes (unpacked, as they stream) are bounded. An archive that breaks a rule is
 *  refused whole; what was extracted until then is the caller's to delete. */

import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type ExtractEvents, type Header } from 'tar-stream';
import { FnError } from '../../core/errors.ts';
import type { Bytes } from '../../core/units.ts';
import { linkStaysInside, relativeTarget } from './links.ts';
import { SafeTree } from './safe-tree.ts';

/** What the reader really gives: no type for a flag it does not know, no link name where the field is empty. */
type Seen = Pick<Header, 'name' | 'mode' | 'size'> & {
  readonly type: Header['type'] | null;
  readonly linkname: string | null;
};
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

const COMPONENT_LIMIT: Bytes = 255;

/** @throws FnError image.invalid or package.invalid, by `rules.kind`. */
export async function extractTar(input: Readable, root: string, rules: ExtractRules): Promise<void> {
  const extraction = new Extraction(root, rules);
  const archive = extract();
  const reading = (async () => {
    for await (const entry of archive) await extraction.add(entry);
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
  return invalid(rules, `the archive is damaged: ${why}`, error);
}

function invalid({ kind }: ExtractRules, why: string, cause?: unknown): FnError {
  return new FnError(kind === 'layer' ? 'image.invalid' : 'package.invalid', why, { cause });
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
    done(invalid(this.#rules, `the archive unpacks to more than ${this.#rules.limits.bytes} bytes`));
  }
}

/** What each entry means. */
class Extraction {
  readonly #rules: ExtractRules;
  readonly #tree: SafeTree;
  #entries = 0;

  constructor(root: string, rules: ExtractRules) {
    this.#rules = rules;
    this.#tree = new SafeTree(root, (why) => this.#refuse(why));
  }

  async add(entry: Entry): Promise<void> {
    const header: Seen = entry.header;
    if (++this.#entries > this.#rules.limits.entries) {
      throw this.#refuse(`the archive has more than ${this.#rules.limits.entries} entries`);
    }
    const path = this.#clean(header.name);
    if (await this.#special(header, path)) return discard(entry);
    switch (header.type) {
      case 'file':
      case 'contiguous-file': {
        const mode = (header.mode & 0o111) !== 0 ? 0o755 : 0o644;
        return this.#tree.file(path, mode, header.size, entry as AsyncIterable<Buffer>);
      }
      case 'directory':
        await this.#directory(path);
        break;
      case 'symlink':
        await this.#symlink(path, header.linkname ?? '');
        break;
      case 'link':
        await this.#tree.hardLink(path, this.#clean(header.linkname ?? ''));
        break;
      default:
        throw this.#refuse(`"${path}" is of a type that is not allowed: ${header.type ?? 'unknown'}`);
    }
    await discard(entry);
  }

  /** True when the entry is dealt with: the root itself, and what has its own meaning in a layer. */
  async #special(header: Seen, path: string): Promise<boolean> {
    if (path === '') {
      if (header.type === 'directory') return true;
      throw this.#refuse('an entry has no name');
    }
    if (this.#rules.kind !== 'layer') return false;
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

  #directory(path: string): Promise<void> {
    const isOpen = this.#rules.kind === 'layer' && WORLD_WRITABLE.has(path);
    return this.#tree.directory(path, isOpen ? 0o1777 : undefined);
  }

  async #symlink(path: string, target: string): Promise<void> {
    const inside = this.#rules.kind === 'layer' ? relativeTarget(path, target) : target;
    if (!linkStaysInside(path, inside)) throw this.#refuse(`the link "${path}" leads outside, to "${target}"`);
    await this.#tree.symlink(path, inside);
  }

  /** `.wh.<name>` deletes a name that came from a layer below, `.wh..wh..opq` all of them in its directory. */
  async #whiteout(path: string): Promise<void> {
    const parts = path.split('/');
    const name = (parts.pop() ?? '').slice('.wh.'.length);
    const isOpaque = name === '.wh..opq';
    if (name === '' || name === '.' || name === '..' || parts.some((part) => part.startsWith('.wh.'))) {
      throw this.#refuse(`"${path}" is a whiteout of nothing that can be deleted`);
    }
    if (!isOpaque && name.startsWith('.wh.')) return; // Bookkeeping of aufs.
    await this.#tree.deleteOlder(parts.join('/'), isOpaque ? undefined : name);
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
    return invalid(this.#rules, why);
  }
}

/** An entry's stream has to end before the next entry comes. */
async function discard(entry: Entry): Promise<void> {
  for await (const _ of entry as AsyncIterable<Buffer>);
}
