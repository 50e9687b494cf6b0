/** What V8 made of the bootstrap, kept beside it in an unpacked base layer: sandboxes that start afterwards read it instead of
 *  compiling, which is a twelfth of node's processor time until the first reply (decision 008). Made once on each machine, and
 *  not a part of the image: the same input would not give the same bytes. V8 refuses code that another version made. */

import { existsSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** In a base layer made before there was such a thing nobody would read it. */
export function lacksCompiledCode(rootfs: string): boolean {
  return existsSync(join(rootfs, 'opt/fn/bootstrap.js')) && !existsSync(pathIn(rootfs));
}

/** @param code of a sandbox that nobody has claimed: it is run in every later one. */
export async function keepCompiledCode(rootfs: string, code: Buffer): Promise<void> {
  const path = pathIn(rootfs);
  await writeFile(`${path}.new`, code, { mode: 0o644 });
  await rename(`${path}.new`, path); // Whole or not at all: V8 trusts what it reads.
}

function pathIn(rootfs: string): string {
  return join(rootfs, 'opt/fn/bootstrap.code');
}
