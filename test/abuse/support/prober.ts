/** The prober: a function that is really deployed and tries, one request each, what the catalogue says it must not manage.
 *  Its probes are in functions/prober/; system calls that Node has no function for are made through koffi, whose library is
 *  part of the package. */

import { chmod, copyFile, cp, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { TestPlatform } from '../../support/platform.ts';
import { testDirectory, type TestDirectory } from '../../support/directory.ts';

const PROBER = join(import.meta.dirname, '../functions/prober');
const require = createRequire(import.meta.url);

export interface Prober {
  /** What the probe `<group>/<name>` managed: a value, or the code of the error that stopped it. */
  probe(path: string, args?: Readonly<Record<string, string | number>>): Promise<unknown>;
  /** The reply itself, whatever it is. */
  call(path: string, args?: Readonly<Record<string, string | number>>): Promise<Response>;
  readonly name: string;
}

/** The prober's directory as it would be deployed, with further files. */
export async function proberDirectory(spec: string): Promise<TestDirectory> {
  const directory = await testDirectory();
  await cp(PROBER, directory.path, { recursive: true });
  await copyFile(require.resolve('@koromix/koffi-linux-x64/linux_x64/koffi.node'), join(directory.path, 'koffi.node'));
  await directory.write({ 'fn.yaml': spec, 'package.json': '{"type":"module"}' });
  // What a package may hold and a function must not get.
  await writeFile(join(directory.path, 'setuid'), '#!/usr/local/bin/node\n');
  await chmod(join(directory.path, 'setuid'), 0o6755);
  return directory;
}

export async function deployProber(platform: TestPlatform, name: string, spec = ''): Promise<Prober> {
  await using directory = await proberDirectory(`name: ${name}\n${spec}`);
  await platform.deploy(directory.path);
  const call: Prober['call'] = (path, args = {}) => {
    const pairs = Object.entries(args).map(([key, value]): [string, string] => [key, String(value)]);
    return platform.call(`/function/${name}/${path}?${new URLSearchParams(pairs).toString()}`);
  };
  return {
    name,
    call,
    async probe(path, args) {
      const reply = await call(path, args);
      const text = await reply.text();
      if (reply.status !== 200) throw new Error(`${reply.status} ${text}`);
      return JSON.parse(text) as unknown;
    },
  };
}
