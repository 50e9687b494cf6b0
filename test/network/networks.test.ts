import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SANDBOX_RESOLVER } from '../../core/egress.ts';
import { newSandboxId, type SandboxId } from '../../core/ids.ts';
import { type Log, silentLog } from '../../core/log.ts';
import { missingTools } from '../../worker/network/commands.ts';
import { Networks } from '../../worker/network/networks.ts';
import { eventually } from '../support/eventually.ts';
import { notRoot, skipBecause } from '../support/requires.ts';
import {
  command,
  FAR,
  inNamespace,
  type Lab,
  MACHINE,
  machineState,
  mountsBelow,
  NEAR,
  openLab,
  Platform,
} from './lab.ts';

const EVERYTHING = {
  public: { tcp: `${FAR.public}:80` },
  otherPublic: { tcp: `${FAR.otherPublic}:80` },
  metadata: { tcp: `${FAR.metadata}:80` },
  alibabaMetadata: { tcp: `${FAR.alibabaMetadata}:80` },
  private: { tcp: `${NEAR.private}:80` },
  otherPrivate: { tcp: `${NEAR.otherPrivate}:80` },
  machine: { tcp: `${MACHINE}:80` },
  machineNear: { tcp: '10.1.2.1:80' },
  machineUdp: { udp: `${MACHINE}:9` },
  router: { tcp: `${SANDBOX_RESOLVER}:80` },
  loopback: { tcp: '127.0.0.1:80' },
} as const;

const REFUSED = /^(EHOSTUNREACH|ECONNREFUSED|ENETUNREACH|EACCES|timeout)$/;

/** The targets that answered. */
function reached(results: Readonly<Record<string, string>>): string[] {
  return Object.entries(results)
    .filter(([, answer]) => !REFUSED.test(answer))
    .map(([name, answer]) => `${name}: ${answer}`);
}

const missing = notRoot() ?? missingTools()?.message;

describe.skipIf(skipBecause(missing))('the network of a sandbox', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await openLab();
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  test('internet: public addresses, under the machine’s own, and nothing else', async () => {
    await using platform = await Platform.open(lab.platform());
    const { netns } = await platform.sandbox('internet');
    expect(reached(await lab.probe(netns, EVERYTHING))).toEqual([
      `public: world ${MACHINE}`,
      `otherPublic: world ${MACHINE}`,
    ]);
  });

  test('internal: private addresses and nothing else', async () => {
    await using platform = await Platform.open(lab.platform());
    const { netns } = await platform.sandbox('internal');
    expect(reached(await lab.probe(netns, EVERYTHING))).toEqual([
      'private: lan 10.1.2.1',
      'otherPrivate: lan 10.1.2.1',
    ]);
  });

  test('a list: what it names and nothing else', async () => {
    await using platform = await Platform.open(lab.platform());
    lab.setNames({ 'api.test': [FAR.public] });
    const ranges = await platform.sandbox(['172.20.0.0/16']);
    const named = await platform.sandbox(['api.test', '10.1.2.3']);
    expect(reached(await lab.probe(ranges.netns, EVERYTHING))).toEqual(['otherPrivate: lan 10.1.2.1']);
    expect(reached(await lab.probe(named.netns, EVERYTHING))).toEqual([
      `public: world ${MACHINE}`,
      'private: lan 10.1.2.1',
    ]);
  });

  test('no list opens the way to the machine, to metadata services or to the router', async () => {
    await using platform = await Platform.open(lab.platform());
    lab.setNames({ 'rebinding.test': [FAR.metadata, MACHINE, '127.0.0.1', '169.254.170.1', SANDBOX_RESOLVER] });
    const { netns } = await platform.sandbox(['0.0.0.0/0', '169.254.0.0/16', MACHINE, '127.0.0.1', 'rebinding.test']);
    const targets = { ...EVERYTHING, broadcast: { udp: '192.0.2.255:9' }, multicast: { udp: '224.0.0.1:9' } };
    expect(reached(await lab.probe(netns, targets)).map((line) => line.split(':')[0])).toEqual([
      'public',
      'otherPublic',
      'private',
      'otherPrivate',
    ]);
  });

  test('names are answered by the machine’s resolver, but not for a list that has none', async () => {
    await using platform = await Platform.open(lab.platform());
    lab.setNames({ 'api.test': [FAR.public] });
    const targets = {
      ours: { dns: 'api.test', server: SANDBOX_RESOLVER },
      itsOwn: { dns: 'api.test', server: FAR.public },
      directly: { tcp: `${NEAR.resolver}:80` },
    };
    const internet = await platform.sandbox('internet');
    const named = await platform.sandbox(['api.test']);
    const ranges = await platform.sandbox(['198.51.100.0/24']);
    expect(await lab.probe(internet.netns, targets)).toMatchObject({
      ours: FAR.public,
      itsOwn: FAR.public,
      directly: 'ECONNREFUSED',
    });
    expect(await lab.probe(named.netns, targets)).toMatchObject({ ours: FAR.public, directly: 'ECONNREFUSED' });
    expect((await lab.probe(ranges.netns, targets)).ours).not.toBe(FAR.public);
  });

  test('a resolver on the machine itself can be asked, and nothing else there', async () => {
    await using platform = await Platform.open(lab.platform(MACHINE));
    lab.setNames({ 'api.test': [FAR.public] });
    const { netns } = await platform.sandbox(['api.test', '10.1.2.3']);
    const targets = { ...EVERYTHING, dns: { dns: 'api.test', server: SANDBOX_RESOLVER } };
    expect(reached(await lab.probe(netns, targets))).toEqual([
      `public: world ${MACHINE}`,
      'private: lan 10.1.2.1',
      `dns: ${FAR.public}`,
    ]);
  });

  test('a name that moves is followed, and its old address stays open for a while', async () => {
    await using platform = await Platform.open(lab.platform());
    lab.setNames({ 'moves.test': [FAR.public] });
    const { netns } = await platform.sandbox(['moves.test']);
    lab.setNames({ 'moves.test': [FAR.otherPublic] });
    expect(reached(await lab.probe(netns, EVERYTHING))).toEqual([`public: world ${MACHINE}`]);
    await platform.networks.refresh();
    expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
    lab.setNames({});
    await platform.networks.refresh();
    expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
  });

  test('sandboxes reach neither each other nor those of another platform', async () => {
    await using platform = await Platform.open(lab.platform());
    await using other = await Platform.open(lab.platform());
    const one = await platform.sandbox(['0.0.0.0/0']);
    const neighbours = [
      await platform.sandbox(['0.0.0.0/0']),
      await platform.sandbox('internet'),
      await other.sandbox('internet'),
    ];
    const servers = neighbours.map(({ netns }) => listen(netns));
    const addresses = neighbours.map(({ netns }) => addressIn(netns));
    try {
      await Promise.all(servers.map((server) => once(server.stdout, 'data')));
      const targets = Object.fromEntries(addresses.map((address, index) => [`${index}`, { tcp: `${address}:80` }]));
      expect(reached(await lab.probe(one.netns, targets))).toEqual([]);
      expect(reached(await lab.probe(neighbours[0]?.netns ?? '', targets))).toEqual(['0: self']);
    } finally {
      for (const server of servers) server.kill('SIGKILL');
    }
  });

  test('nothing in the router can be reached, whatever would listen there', async () => {
    const config = lab.platform();
    await using platform = await Platform.open(config);
    const { netns } = await platform.sandbox(['0.0.0.0/0']);
    const router = join(config.paths.sandboxes, 'network/router');
    const server = listen(router);
    try {
      await once(server.stdout, 'data');
      const link = addressIn(router, 'uplink');
      const targets = { near: { tcp: `${SANDBOX_RESOLVER}:80` }, far: { tcp: `${link}:80` } };
      expect(reached(await lab.probe(netns, targets))).toEqual([]);
      command('ip', 'route', 'replace', link, 'dev', String(ourLinks()[0]));
      inNamespace(lab.lan, 'ip', 'route', 'replace', link, 'via', '10.1.2.1');
      expect(reached(await lab.probe(lab.lan, { far: targets.far }))).toEqual([]);
    } finally {
      server.kill('SIGKILL');
    }
  });

  test('a packet with a source that is not the sandbox’s goes nowhere', async () => {
    await using platform = await Platform.open(lab.platform());
    const { netns } = await platform.sandbox('internet');
    const neighbour = addressIn((await platform.sandbox('internet')).netns);
    const internal = addressIn((await platform.sandbox('internal')).netns);
    const sources = [neighbour, internal, FAR.otherPublic, NEAR.private, MACHINE];
    // As root of its namespace, which a function never is.
    for (const source of sources) inNamespace(netns, 'ip', 'address', 'add', `${source}/32`, 'dev', 'eth0');
    const targets = sources.flatMap((from) => [
      [`public from ${from}`, { udp: `${FAR.public}:9`, from }] as const,
      [`private from ${from}`, { udp: `${NEAR.private}:9`, from }] as const,
    ]);
    expect(reached(await lab.probe(netns, Object.fromEntries(targets)))).toEqual([]);
    expect(await lab.probe(netns, { 'from itself': { udp: `${FAR.public}:9` } })).toEqual({
      'from itself': `world ${MACHINE}`,
    });
    expect(lab.seen().filter((line) => line.includes(' from '))).toEqual(['world: from itself']);
  });

  test('there is no IPv6 but on loopback', async () => {
    await using platform = await Platform.open(lab.platform());
    const { netns } = await platform.sandbox('internet');
    expect(inNamespace(netns, 'ip', '-6', '-oneline', 'address')).toMatch(/^1: lo +inet6 ::1.*\n$/);
    // Nor does the router speak it to one who makes it up.
    inNamespace(netns, 'sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6');
    inNamespace(netns, 'ip', '-6', 'address', 'add', 'fd00::2/64', 'dev', 'eth0', 'nodad');
    inNamespace(netns, 'ip', '-6', 'route', 'add', 'default', 'via', 'fd00::1');
    expect(
      reached(await lab.probe(netns, { metadata: { tcp6: 'fd00:ec2::254' }, router: { tcp6: 'fd00::1' } })),
    ).toEqual([]);
  });

  test('one sandbox cannot use up everybody’s connections', async () => {
    await using platform = await Platform.open(lab.platform());
    const [flooder, neighbour] = [await platform.sandbox('internet'), await platform.sandbox('internet')];
    const { flood, after } = await lab.probe(flooder.netns, {
      flood: { udp: `${FAR.public}:9`, times: 700 },
      after: { tcp: `${FAR.otherPublic}:80`, later: true },
    });
    expect(Number(flood)).toBeLessThanOrEqual(512);
    expect(Number(flood)).toBeGreaterThan(0);
    expect(after).toMatch(REFUSED);
    expect(reached(await lab.probe(neighbour.netns, { public: EVERYTHING.public }))).toHaveLength(1);
  });

  test('a port that the machine publishes for something else is the machine’s', async () => {
    command('nft', 'add table ip publishing { chain before { type nat hook prerouting priority dstnat; }; }');
    command('nft', `add rule ip publishing before ip daddr ${MACHINE} tcp dport 8080 dnat to ${NEAR.private}:80`);
    command('nft', `add rule ip publishing before ip daddr ${FAR.public} tcp dport 8080 dnat to ${NEAR.private}:80`);
    try {
      await using platform = await Platform.open(lab.platform());
      const { netns } = await platform.sandbox('internet');
      const published = { direct: { tcp: `${MACHINE}:8080` }, disguised: { tcp: `${FAR.public}:8080` } };
      expect(reached(await lab.probe(netns, published))).toEqual([]);
    } finally {
      command('nft', 'delete', 'table', 'ip', 'publishing');
    }
  });

  test('flushing the machine’s rules opens nothing, and they come back', async () => {
    await using platform = await Platform.open(lab.platform());
    const { netns } = await platform.sandbox('internet');
    command('nft', 'flush', 'ruleset');
    const throughUs = { flushed: { udp: `${FAR.public}:9` } };
    const { private: near, otherPrivate, metadata } = await lab.probe(netns, EVERYTHING);
    expect([near, otherPrivate, metadata]).toEqual(['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED']);
    await platform.networks.refresh();
    expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
    await lab.probe(lab.lan, throughUs);
    expect(lab.seen()).not.toContain('world: flushed');
    command('ip', 'link', 'delete', String(ourLinks()[0]));
    await platform.networks.refresh();
    expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
  });

  test('the machine forwards for nobody else, and is as it was when the last platform is gone', async () => {
    const before = machineState();
    const throughUs = { 'through us': { udp: `${FAR.public}:9` } };
    {
      await using platform = await Platform.open(lab.platform());
      const { netns } = await platform.sandbox('internet');
      {
        await using other = await Platform.open(lab.platform());
        await other.sandbox('internal');
        expect(machineState()).not.toEqual(before);
        expect(reached(await lab.probe(lab.lan, throughUs))).toEqual([]);
        expect(lab.seen()).not.toContain('world: through us');
      }
      expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
    }
    expect(machineState()).toEqual(before);
  });

  test('a platform whose functions need no network changes nothing on the machine', async () => {
    const config = lab.platform();
    const before = machineState();
    await using platform = await Platform.open(config);
    expect(await platform.networks.create(newSandboxId(), 0, 'none')).toBeUndefined();
    await platform.networks.refresh();
    expect(machineState()).toEqual(before);
    expect(mountsBelow(config.paths.sandboxes)).toEqual([]);
    expect(platform.networks.list()).toEqual([]);
  });

  test('what is removed leaves nothing, and removing again does no harm', async () => {
    const config = lab.platform();
    const before = machineState();
    const networks = await Networks.open(config, silentLog);
    const ids = Array.from({ length: 6 }, newSandboxId);
    await Promise.all(ids.map((id, slot) => networks.create(id, slot, slot % 2 ? 'internet' : [`10.${slot}.0.0/16`])));
    expect(networks.list().toSorted()).toEqual(ids.toSorted());
    const router = join(config.paths.sandboxes, 'network/router');
    const interfaces = (): number =>
      inNamespace(router, 'ip', '-oneline', 'link', 'show', 'type', 'veth').split('\n').length - 2;
    expect(interfaces()).toBe(6);
    for (const id of [...ids, ...ids]) networks.remove(id);
    expect(networks.list()).toEqual([]);
    await eventually(() => expect(interfaces()).toBe(0)); // The kernel takes namespaces apart in the background.
    await networks.close();
    await networks.close();
    expect(mountsBelow(config.paths.sandboxes)).toEqual([]);
    expect(machineState()).toEqual(before);
  });

  test('a network that cannot be made leaves nothing', async () => {
    const config = lab.platform();
    await using platform = await Platform.open(config);
    await platform.sandbox('internet');
    const mounts = mountsBelow(config.paths.sandboxes);
    await expect(platform.networks.create(newSandboxId(), 5000, 'internet')).rejects.toThrow(/no address/);
    expect(platform.networks.list()).toHaveLength(1);
    expect(mountsBelow(config.paths.sandboxes)).toEqual(mounts);
  });

  test('lists share an address block when they allow the same, and the next takes a block that is free again', async () => {
    await using platform = await Platform.open(lab.platform());
    const lists = Array.from({ length: 3 }, (_, index) => [`10.${index}.0.0/16`, '192.0.2.9']);
    const [one, two, three] = lists as [string[], string[], string[]];
    const block = (netns: string): string | undefined => netns.split('.').at(-1);
    const first = await platform.sandbox(one);
    const same = await platform.sandbox(one.toReversed());
    const second = await platform.sandbox(two);
    expect([first, same, second].map(({ netns }) => block(netns))).toEqual(['2', '2', '3']);
    platform.networks.remove(second.id);
    const third = await platform.sandbox([...three, `${FAR.public}/32`]);
    expect(block(third.netns)).toBe('3');
    expect(reached(await lab.probe(third.netns, EVERYTHING))).toEqual([`public: world ${MACHINE}`]);
  });

  test('a killed worker’s networks go on, though its mount namespace was its own; the next worker finds and removes them', async () => {
    const config = lab.platform();
    const before = machineState();
    lab.setNames({ 'api.test': [FAR.public] });
    const { home, dns } = config;
    const worker = spawn(
      'unshare',
      ['--mount', '--propagation', 'unchanged', process.execPath, join(import.meta.dirname, 'worker.ts')],
      { env: { ...process.env, FN_HOME: home, FN_DNS: dns }, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const [line] = (await once(worker.stdout, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
    worker.kill('SIGKILL');
    await once(worker, 'exit');
    const made = JSON.parse(String(line)) as { id: SandboxId; netns: string }[];
    expect(mountsBelow(config.paths.sandboxes)).toHaveLength(made.length + 1);

    await using platform = await Platform.open(config);
    expect(platform.networks.list().toSorted()).toEqual(made.map(({ id }) => id).toSorted());
    const [internet, list] = await Promise.all(made.map(({ netns }) => lab.probe(netns, EVERYTHING)));
    expect(reached(internet ?? {})).toHaveLength(2);
    expect(reached(list ?? {})).toEqual([`public: world ${MACHINE}`]);
    const [another] = [await platform.sandbox(['api.test'])];
    expect(another.netns.split('.').at(-1)).toBe(made[1]?.netns.split('.').at(-1));
    for (const id of platform.networks.list()) platform.networks.remove(id);
    await platform.networks.close();
    expect(mountsBelow(config.paths.sandboxes)).toEqual([]);
    expect(machineState()).toEqual(before);
  });

  test('a node has room for 62 different lists, and says so when they are used up', async () => {
    const config = lab.platform();
    const directory = join(config.paths.sandboxes, 'network');
    mkdirSync(directory);
    for (let block = 2; block < 64; block++) writeFileSync(join(directory, `${newSandboxId()}.${block}`), '');
    await using platform = await Platform.open(config);
    await expect(platform.sandbox(['10.0.0.0/8'])).rejects.toMatchObject({
      code: 'network.unavailable',
      message: 'functions on this node use 62 different egress lists, the most',
    });
    const [first] = platform.networks.list();
    platform.networks.remove(first as SandboxId);
    await platform.sandbox(['10.0.0.0/8']);
  });

  test('a firewall that forwards nothing it does not know is told to the operator', async () => {
    command('nft', 'add table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }');
    try {
      const warnings: object[] = [];
      const log = { ...silentLog, warn: (fields: object) => warnings.push(fields) } as unknown as Log;
      const networks = await Networks.open(lab.platform(), log);
      const id = newSandboxId();
      await networks.create(id, 0, 'internet');
      expect(warnings).toEqual([{ chains: ['ip filter FORWARD'], interfaces: 'fn-*' }]);
      networks.remove(id);
      await networks.close();
    } finally {
      command('nft', 'delete', 'table', 'ip', 'filter');
    }
  });

  test('files that a reboot left without namespaces are found and removed', async () => {
    const config = lab.platform();
    {
      const networks = await Networks.open(config, silentLog);
      await networks.create(newSandboxId(), 0, 'internet');
      for (const path of mountsBelow(config.paths.sandboxes)) command('umount', path);
      await eventually(() => expect(ourLinks()).toEqual([]));
    }
    await using platform = await Platform.open(config);
    const [left] = platform.networks.list();
    expect(left).toBeDefined();
    const { netns } = await platform.sandbox('internet');
    expect(reached(await lab.probe(netns, EVERYTHING))).toHaveLength(2);
  });

  test('without the CNI plugins only none can be had, and the reason says what to install', async () => {
    const child = spawn('unshare', ['--mount', process.execPath, join(import.meta.dirname, 'bare.ts')], {
      env: { ...process.env, FN_HOME: lab.platform().home },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
    await once(child, 'exit');
    expect(JSON.parse(String(line))).toEqual({
      none: 'made',
      internet: 'network.unavailable: network.egress needs the CNI plugins',
      hint: 'apt-get install iproute2 nftables util-linux containernetworking-plugins',
    });
  });
});

function ourLinks(): string[] {
  return (JSON.parse(command('ip', '-json', 'link')) as { ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => name.startsWith('fn-'));
}

function addressIn(netns: string, link = 'eth0'): string {
  return /inet (\S+)\//.exec(inNamespace(netns, 'ip', '-4', '-oneline', 'address', 'show', 'dev', link))?.[1] ?? '';
}

/** A server in the sandbox itself. */
function listen(netns: string) {
  const program = `require('http').createServer((_, reply) => reply.end('self')).listen(80, '0.0.0.0', () => console.log('ready'))`;
  return spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
