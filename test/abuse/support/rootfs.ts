/** A base layer for a lab, made of this process's own files, so that it can be made in a machine without ldd or builder. */

import { readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { packedRuntime } from '../../../runtime/node/pack.mjs';

const INIT = '/usr/bin/tini-static';
/** Where every program says its loader is. */
const LOADERS: Readonly<Record<string, string>> = {
  x64: '/lib64/ld-linux-x86-64.so.2',
  arm64: '/lib/ld-linux-aarch64.so.1',
};

export async function makeRootfs(root: string): Promise<void> {
  const put = async (from: string, path: string): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(from, join(root, path));
  };
  for (const name of ['dev', 'proc', 'sys', 'run', 'task', 'etc', 'tmp', 'opt/fn']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await chmod(join(root, 'tmp'), 0o1777);
  await put(process.execPath, '/usr/local/bin/node');
  await put(INIT, '/sbin/fn-init');
  for (const library of mappedLibraries()) {
    // A program asks for libx.so.6, whatever file that is a link to.
    await put(library, library.replace(/(\.so\.\d+)[\d.]*$/, '$1'));
    if (basename(library).startsWith('ld-linux')) await put(library, LOADERS[process.arch] ?? library);
  }
  for (const [name, text] of packedRuntime()) await writeFile(join(root, 'opt/fn', name), text);
}

function mappedLibraries(): string[] {
  const paths = readFileSync('/proc/self/maps', 'utf8').matchAll(/\s(\/\S+\.so(?:\.\d+)*)$/gm);
  return [...new Set([...paths].map(([, path = '']) => path))];
}
