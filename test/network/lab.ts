/** A machine for network tests. This process moves to a network namespace of its own, so that whatever the worker does to
 *  "the machine" happens there; on its two interfaces are a make-believe internet and a local network, each a namespace with
 *  servers. No packet leaves them. */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { type Config, loadConfig } from '../../core/config.ts';
import type { Egress } from '../../core/egress.ts';
import { newSandboxId, type SandboxId } from '../../core/ids.ts';
import { silentLog } from '../../core/log.ts';
import { mount, MS_BIND, MS_SHARED, unmount } from '../../worker/native.ts';
import { Networks } from '../../worker/network/networks.ts';
import { testDirectory } from '../support/directory.ts';

const CLONE_NEWNET = 0x40_00_00_00;

export type Target =
  | { readonly tcp: string; readonly later?: boolean }
  | { readonly tcp6: string }
  | { readonly udp: string; readonly from?: string; readonly times?: number }
  | { readonly dns: string; readonly server: string };

export const MACHINE = '192.0.2.2';
/** All answer on the far side of the machine's interface `wan`. */
export const FAR = {
  public: '203.0.113.10',
  otherPublic: '198.51.100.20',
  metadata: '169.254.169.254',
  alibabaMetadata: '100.100.100.200',
};
/** All answer behind its interface `lan`. */
export const NEAR = { private: '10.1.2.3', otherPrivate: '172.20.0.9', resolver: '10.1.2.53' };

export interface Lab extends AsyncDisposable {
  /** A platform's configuration, with its directories made and shared. */
  platform(resolver?: string): Config;
  /** What the names of the DNS server are. */
  setNames(names: Readonly<Record<string, readonly string[]>>): void;
  /** Tries the targets from inside a network namespace. */
  probe<K extends string>(netns: string, targets: Record<K, Target>): Promise<Record<K, string>>;
  /** The names of the UDP targets whose probes arrived, whether an answer came back or not: `lan: <name>`. */
  seen(): string[];
  /** The namespace of the local network. */
  readonly lan: string;
}

/** What there is on the machine: compared before and after. */
export function machineState(): object {
  return {
    links: (JSON.parse(command('ip', '-json', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname),
    tables: command('nft', 'list', 'tables'),
    routes: command('ip', '-4', 'route', 'show', 'table', 'all'),
    forwarding: ['all', 'default', 'wan', 'lan'].map((name) =>
      readFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, 'utf8').trim(),
    ),
  };
}

/** Mounts below a directory, as any process of the host sees them. */
export function mountsBelow(directory: string): string[] {
  const targets = readFileSync('/proc/1/mountinfo', 'utf8').split('\n');
  return targets.flatMap((line) => line.split(' ')[4] ?? []).filter((target) => target.startsWith(`${directory}/`));
}

export function command(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'inherit'] });
}

export function inNamespace(netns: string, program: string, ...args: string[]): string {
  return command('nsenter', `--net=${netns}`, '--', program, ...args);
}

/** A platform's networks. At the end its sandboxes go, then all it had on the machine. */
export class Platform implements AsyncDisposable {
  readonly networks: Networks;
  #slot = 0;

  private constructor(networks: Networks) {
    this.networks = networks;
  }

  static async open(config: Config): Promise<Platform> {
    return new Platform(await Networks.open(config, silentLog));
  }

  /** Makes a sandbox's network. */
  async sandbox(egress: Egress): Promise<{ id: SandboxId; netns: string }> {
    const id = newSandboxId();
    const netns = await this.networks.create(id, this.#slot++, egress);
    if (!netns) throw new Error('no network was made');
    return { id, netns };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.networks.list()) this.networks.remove(id);
    await this.networks.close();
  }
}

export async function openLab(): Promise<Lab> {
  const directory = await testDirectory();
  const unshare = koffi.load(null).func('int unshare(int flags)');
  if (unshare(CLONE_NEWNET) !== 0) throw new Error('unshare failed');
  command('ip', 'link', 'set', 'lo', 'up');
  for (const name of ['all', 'default']) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, '0');

  const zone = join(directory.path, 'zone.json');
  const seen = join(directory.path, 'seen');
  const files = [zone, seen];
  writeFileSync(zone, '{}');
  writeFileSync(seen, '');
  const world = join(directory.path, 'world');
  const lan = join(directory.path, 'lan');
  connectNamespace(world, 'wan', `${MACHINE}/24`, '192.0.2.1/24', Object.values(FAR));
  connectNamespace(lan, 'lan', '10.1.2.1/24', `${NEAR.private}/24`, [NEAR.otherPrivate, NEAR.resolver]);
  command('ip', 'route', 'add', 'default', 'via', '192.0.2.1');
  command('ip', 'route', 'add', NEAR.otherPrivate, 'via', NEAR.private);
  inNamespace(lan, 'ip', 'route', 'add', 'default', 'via', '10.1.2.1');
  const servers = await Promise.all([
    serve(world, 'world', files, Object.values(FAR)),
    serve(lan, 'lan', files, Object.values(NEAR)),
    serve('/proc/self/ns/net', 'machine', files, [MACHINE]),
  ]);

  const shared: string[] = [];
  return {
    lan,
    platform(resolver = NEAR.resolver) {
      const config = loadConfig({ FN_HOME: join(directory.path, `home${shared.length}`), FN_DNS: resolver });
      const { sandboxes } = config.paths;
      mkdirSync(sandboxes, { recursive: true });
      mount(sandboxes, sandboxes, null, MS_BIND);
      mount('none', sandboxes, null, MS_SHARED);
      shared.push(sandboxes);
      return config;
    },
    setNames: (names) => writeFileSync(zone, JSON.stringify(names)),
    probe: (netns, targets) => probe(netns, targets),
    seen: () => readFileSync(seen, 'utf8').split('\n'),
    async [Symbol.asyncDispose]() {
      for (const server of servers) {
        server.kill('SIGKILL');
        await once(server, 'exit');
      }
      for (const path of [...shared, world, lan]) while (unmount(path));
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Makes a namespace at the other end of an interface of the machine. */
function connectNamespace(path: string, link: string, here: string, there: string, more: readonly string[]): void {
  writeFileSync(path, '');
  command('unshare', `--net=${path}`, 'ip', 'link', 'set', 'lo', 'up');
  command('ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', path);
  command('ip', 'address', 'add', here, 'dev', link);
  command('ip', 'link', 'set', link, 'up');
  inNamespace(path, 'ip', 'address', 'add', there, 'dev', 'eth0');
  inNamespace(path, 'ip', 'link', 'set', 'eth0', 'up');
  for (const address of more) inNamespace(path, 'ip', 'address', 'add', `${address}/32`, 'dev', 'eth0');
}

async function serve(
  netns: string,
  name: string,
  files: readonly string[],
  addresses: readonly string[],
): Promise<ChildProcess> {
  const child = spawn(
    'nsenter',
    [`--net=${netns}`, '--', process.execPath, join(import.meta.dirname, 'world.ts'), name, ...files, ...addresses],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
  return child;
}

async function probe<K extends string>(netns: string, targets: Record<K, Target>): Promise<Record<K, string>> {
  const program = [process.execPath, join(import.meta.dirname, 'probe.ts'), JSON.stringify(targets)];
  const child = spawn('nsenter', [`--net=${netns}`, '--', ...program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(child, 'close');
  return JSON.parse(text) as Record<K, string>;
}
