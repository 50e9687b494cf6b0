/** A directory of its own for a test, and small trees in it. */

import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface TestDirectory extends AsyncDisposable {
  readonly path: string;
  /** Writes files below it: `{ 'a/b.js': 'text', 'run.sh': { text, mode }, 'link': { link: 'a' } }`. Returns their root. */
  write(files: Tree, below?: string): Promise<string>;
}

export type Tree = Readonly<Record<string, string | Uint8Array | { text: string; mode: number } | { link: string }>>;

export async function testDirectory(): Promise<TestDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'fnt-'));
  return {
    path,
    async write(files, below = '.') {
      const root = join(path, below);
      for (const [name, content] of Object.entries(files)) {
        const file = join(root, name);
        await mkdir(dirname(file), { recursive: true });
        if (typeof content === 'string' || content instanceof Uint8Array) await writeFile(file, content);
        else if ('link' in content) await symlink(content.link, file);
        else {
          await writeFile(file, content.text);
          await chmod(file, content.mode);
        }
      }
      return root;
    },
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
