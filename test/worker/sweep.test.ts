/** The periodic look for what nobody answers for, on a host that is a directory tree: the truth is what lies there. */

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { loadConfig } from '../../core/config.ts';
import type { SandboxId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import type { SandboxHost } from '../../worker/sandbox/sandbox.ts';
import { sweep } from '../../worker/sweep.ts';
import { testDirectory } from '../support/directory.ts';

/** Groups and networks are sets of names here. */
async function machine() {
  const home = await testDirectory();
  const config = loadConfig({ FN_HOME: home.path });
  for (const path of [config.paths.sandboxes, config.paths.run]) await mkdir(path, { recursive: true });
  const groups = new Set<string>();
  const networks = new Set<string>();
  const stuck = new Set<string>();
  const host = {
    config,
    driver: { forget: async () => {} },
    cgroups: {
      ociPath: (id: string) => id,
      list: async () => [...groups],
      open: (id: string) => ({
        kill: () => (stuck.has(id) ? Promise.reject(new Error('a process does not end')) : Promise.resolve()),
        remove: async () => groups.delete(id),
        [Symbol.dispose]() {},
      }),
    },
    networks: { list: () => [...networks], remove: (id: string) => networks.delete(id) },
    living: new Set<SandboxId>(),
  } as unknown as SandboxHost;
  return {
    host,
    groups,
    networks,
    stuck,
    paths: config.paths,
    left: async () => [
      ...new Set([
        ...(await readdir(config.paths.sandboxes)),
        ...(await readdir(config.paths.run)),
        ...groups,
        ...networks,
      ]),
    ],
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

test('a directory, a socket, a group and a network are found each alone, and what is alive stays', async () => {
  await using it = await machine();
  await mkdir(`${it.paths.sandboxes}/00000001`);
  await writeFile(`${it.paths.run}/00000002.sock`, '');
  it.groups.add('00000003');
  it.networks.add('00000004');
  for (const place of [it.groups, it.networks]) place.add('0000000a');
  it.host.living.add('0000000a' as SandboxId);
  await writeFile(`${it.paths.run}/worker.sock`, ''); // No sandbox's.
  await sweep(it.host, silentLog);
  expect(await it.left()).toEqual(['worker.sock', '0000000a']);
});

test('one that cannot be removed keeps none of the others, and goes when it can', async () => {
  await using it = await machine();
  for (const id of ['00000001', '00000002', '00000003']) it.groups.add(id);
  it.stuck.add('00000001');
  await sweep(it.host, silentLog);
  expect(await it.left()).toEqual(['00000001']);
  it.stuck.clear();
  await sweep(it.host, silentLog);
  expect(await it.left()).toEqual([]);
});
