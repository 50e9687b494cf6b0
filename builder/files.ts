/** Lists a directory for packing: regular files and links, sorted, without following anything. Empty directories are not
 *  listed, as in git. */

import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { FnError } from '../core/errors.ts';
import type { Bytes } from '../core/units.ts';
import type { LayerEntry } from './oci/layer.ts';
import { linkStaysInside } from './oci/links.ts';

export type ListedFile =
  | { readonly type: 'file'; readonly path: string; readonly executable: boolean; readonly size: Bytes }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string };

/** @param skip is asked for each path below the root before it is looked at; for a directory it answers for all below.
 *  @throws FnError package.invalid for a link that leaves the root, and for what is neither file, directory nor link. */
export async function listFiles(
  root: string,
  skip: (path: string, isDirectory: boolean) => boolean | Promise<boolean>,
): Promise<ListedFile[]> {
  const found: ListedFile[] = [];
  const visit = async (directory: string): Promise<void> => {
    const entries = await readdir(join(root, directory), { withFileTypes: true });
    const names = entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    const listed = await Promise.all(
      names.map(async (entry) => {
        const path = directory === '' ? entry.name : `${directory}/${entry.name}`;
        if (await skip(path, entry.isDirectory())) return undefined;
        return entry.isDirectory() ? path : look(root, path);
      }),
    );
    for (const one of listed) {
      if (typeof one === 'string') await visit(one);
      else if (one) found.push(one);
    }
  };
  await visit('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function look(root: string, path: string): Promise<ListedFile> {
  const found = await lstat(join(root, path));
  if (found.isFile()) return { type: 'file', path, executable: (found.mode & 0o111) !== 0, size: found.size };
  const hint = 'Remove it, or name it in .fnignore.';
  if (!found.isSymbolicLink()) {
    throw new FnError('package.invalid', `"${path}" is neither a file, a directory nor a link`, { hint });
  }
  const target = await readlink(join(root, path));
  if (linkStaysInside(path, target)) return { type: 'symlink', path, target };
  throw new FnError('package.invalid', `the link "${path}" leads outside the directory, to "${target}"`, { hint });
}

/** The entry of a layer for a listed file. */
export function entryOf(root: string, file: ListedFile, path: string): LayerEntry {
  if (file.type === 'symlink') return { type: 'symlink', path, target: file.target };
  const content = { file: join(root, file.path), size: file.size };
  return { type: 'file', path, executable: file.executable, content };
}
