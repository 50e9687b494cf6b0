/** The programs that do the work: ip and nft, and the CNI plugins. Node has no sockets for what they do. Each run is bounded
 *  in time and output, and its failure says what the program said. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FnError } from '../../core/errors.ts';
import { findProgram } from '../../core/processes.ts';
import type { Millis } from '../../core/units.ts';

/** They take 3 to 20 ms. */
const WITHIN: Millis = 10_000;
const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
/** Debian; upstream and Alpine; Fedora. */
const PLUGIN_DIRECTORIES = ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni'];
const PLUGINS = ['ptp', 'static'];
/** In a sandbox's own namespace the interfaces that are still to come have no IPv6; loopback keeps it. */
const MAKE_NAMESPACE = `unshare --net="$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up'`;

/** Resolves with what it wrote. @throws FnError network.unavailable */
export function run(
  program: string,
  args: readonly string[],
  input = '',
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      timeout: WITHIN,
      killSignal: 'SIGKILL',
      maxBuffer: 2 ** 20,
      env: { ...ENVIRONMENT, ...env },
    } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const said = (stderr.trim() || stdout.trim() || error.message).slice(0, 500);
      reject(
        new FnError('network.unavailable', `${program} ${args.join(' ').slice(0, 100)}: ${said}`, { cause: error }),
      );
    });
    child.stdin?.on('error', () => {}); // It ended without reading; its status tells.
    child.stdin?.end(input);
  });
}

/** As `run`, in the network namespace of this file. */
export function runIn(netns: string, program: string, args: readonly string[], input = ''): Promise<string> {
  return run('nsenter', [`--net=${netns}`, '--', program, ...args], input);
}

/** Makes a network namespace that lives as long as it is mounted on the file (which must exist), owned by the user namespace
 *  of the machine: a sandbox has no rights over it, whatever it becomes inside. */
export async function makeNamespace(netns: string): Promise<void> {
  await run('sh', ['-c', MAKE_NAMESPACE, 'sh', netns]);
}

/** The same, with an interface eth0 that leads to the router. One process after the other in one shell: a fork of ours costs
 *  more than theirs. */
export async function makeConnectedNamespace(netns: string, router: string, config: object): Promise<void> {
  const directory = pluginDirectory() ?? '';
  const script = `${MAKE_NAMESPACE} && exec nsenter --net="$2" "$3"`;
  await run('sh', ['-c', script, 'sh', netns, router, join(directory, 'ptp')], JSON.stringify(config), {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'fn',
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: directory,
  });
}

/** What is not installed; undefined when nothing is missing. */
export function missingTools(): FnError | undefined {
  const missing = [
    ...['ip', 'nft', 'nsenter', 'unshare'].filter((name) => !findProgram(name)),
    ...(pluginDirectory() ? [] : ['the CNI plugins']),
  ];
  if (missing.length === 0) return undefined;
  return new FnError('network.unavailable', `network.egress needs ${missing.join(', ')}`, {
    hint: 'apt-get install iproute2 nftables util-linux containernetworking-plugins',
  });
}

function pluginDirectory(): string | undefined {
  return PLUGIN_DIRECTORIES.find((directory) => PLUGINS.every((name) => existsSync(join(directory, name))));
}
