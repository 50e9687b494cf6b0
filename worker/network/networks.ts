/** The network of each sandbox: a namespace of its own with one interface to the platform's router, which judges where its
 *  packets may go by the address they come from. Made in the background together with the sandbox; a claim changes nothing
 *  in it. A machine whose functions all have `egress: none` is left as it is: the router comes with the first that has not.
 *
 *  What exists is told by files alone: FN_HOME/sandboxes/network/<sandbox>.<block>, with the namespace mounted on it. That
 *  is below a shared mount, so a worker with a mount namespace of its own leaves nothing that the next cannot see. */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../core/config.ts';
import { type Egress, egressKey, parseDestination, SANDBOX_RESOLVER } from '../../core/egress.ts';
import { FnError } from '../../core/errors.ts';
import { parseSandboxId, type SandboxId } from '../../core/ids.ts';
import type { Log } from '../../core/log.ts';
import { unmount } from '../native.ts';
import { addressOf, BLOCKS, FIRST_LIST_BLOCK, INTERNAL_BLOCK, INTERNET_BLOCK } from './addresses.ts';
import { makeConnectedNamespace, missingTools } from './commands.ts';
import { Names } from './names.ts';
import { findResolver } from './resolver.ts';
import { type Policy, Router } from './router.ts';

export class Networks {
  readonly #config: Config;
  readonly #log: Log;
  readonly #directory: string;
  readonly #router: Router;
  readonly #names = new Names();
  /** Which block each sandbox's address is from. */
  readonly #members = new Map<SandboxId, number>();
  /** What the lists' blocks allow. A block without members is free. */
  readonly #lists = new Map<number, readonly string[]>();
  /** What the router knows of them: the key of the list by block. */
  #inForce = new Map<number, string>();
  #ready: Promise<void> | undefined;
  #applying: Promise<void> = Promise.resolve();

  private constructor(config: Config, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#directory = join(config.paths.sandboxes, 'network');
    this.#router = new Router(join(this.#directory, 'router'), config.instanceOfPlatform, log);
  }

  /** Takes over what an earlier worker left. FN_HOME/sandboxes must be a shared mount by now. */
  static async open(config: Config, log: Log): Promise<Networks> {
    const networks = new Networks(config, log);
    networks.#readState();
    const { unavailable } = networks;
    if (unavailable) log.warn({ reason: unavailable.message, hint: unavailable.hint }, 'functions have no network');
    else if (networks.#router.exists) {
      await networks
        .#prepare()
        .catch((error: unknown) => log.warn({ err: error }, 'the network is not as it should be'));
    }
    return networks;
  }

  /** Why sandboxes with egress cannot be made here. */
  get unavailable(): FnError | undefined {
    return missingTools();
  }

  /** @param slot the sandbox's uid slot.
   *  @returns path for the runtime's configuration; undefined for `none`: the runtime then makes one with loopback only.
   *  @throws FnError network.unavailable. Nothing of it is left then. */
  async create(id: SandboxId, slot: number, egress: Egress): Promise<string | undefined> {
    if (egress === 'none') return undefined;
    const { unavailable } = this;
    if (unavailable) throw unavailable;
    const block = this.#join(id, egress);
    try {
      await this.#prepare();
      if (block >= FIRST_LIST_BLOCK && this.#inForce.get(block) !== egressKey(egress)) await this.refresh();
      const netns = this.#path(id, block);
      writeFileSync(netns, '');
      await makeConnectedNamespace(netns, this.#router.path, interfaceConfig(addressOf(block, slot)));
      return netns;
    } catch (error) {
      this.remove(id);
      throw error;
    }
  }

  /** Idempotent. The sandbox's processes are gone by now, so the namespace and both ends of its interface go too. */
  remove(id: SandboxId): void {
    const block = this.#members.get(id);
    if (block === undefined) return;
    const path = this.#path(id, block);
    while (unmount(path));
    rmSync(path, { force: true });
    this.#members.delete(id);
  }

  /** Sandboxes that have a network on this machine, whoever made it. */
  list(): SandboxId[] {
    return readdirSync(this.#directory).flatMap((name) => parseMember(name)?.id ?? []);
  }

  /** Looks names up again, and repairs what someone else removed. Call it every half minute. */
  refresh(): Promise<void> {
    if (!this.#ready) return Promise.resolve();
    this.#applying = this.#applying
      .catch(() => {}) // Whoever asked for that one was told.
      .then(async () => {
        const lists = this.#activeLists();
        const names = lists.flatMap(([, list]) => destinations(list).names);
        await this.#names.refresh(names, findResolver(this.#config.dns), Date.now());
        await this.#router.apply(this.#policy(lists));
        this.#inForce = keysOf(lists);
      });
    return this.#applying;
  }

  /** Removes the router too, unless a sandbox still needs it. */
  async close(): Promise<void> {
    await this.#ready?.catch(() => {});
    await this.#applying.catch(() => {});
    if (this.list().length > 0) return;
    if (this.#ready ?? this.#router.exists) await this.#router.remove();
    this.#ready = undefined;
    rmSync(join(this.#directory, 'lists.json'), { force: true });
  }

  #prepare(): Promise<void> {
    this.#ready ??= (async () => {
      const resolver = findResolver(this.#config.dns);
      if (!resolver) this.#log.warn('no DNS server for functions: this machine has only one on loopback; set FN_DNS');
      const lists = this.#activeLists();
      await this.#names.refresh(
        lists.flatMap(([, list]) => destinations(list).names),
        resolver,
        Date.now(),
      );
      await this.#router.ensure(this.#policy(lists));
      this.#inForce = keysOf(lists);
    })().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** Finds the policy's block and notes the sandbox as one of its members. */
  #join(id: SandboxId, egress: Exclude<Egress, 'none'>): number {
    const block =
      egress === 'internet' ? INTERNET_BLOCK : egress === 'internal' ? INTERNAL_BLOCK : this.#listBlock(egress);
    this.#members.set(id, block);
    return block;
  }

  #listBlock(list: readonly string[]): number {
    const key = egressKey(list);
    const known = this.#activeLists().find(([, other]) => egressKey(other) === key);
    if (known) return known[0];
    const used = new Set(this.#members.values());
    for (let block = FIRST_LIST_BLOCK; block < BLOCKS; block++) {
      if (used.has(block)) continue;
      this.#lists.set(block, list);
      const path = join(this.#directory, 'lists.json');
      writeFileSync(`${path}.new`, JSON.stringify([...this.#lists]), { mode: 0o600 });
      renameSync(`${path}.new`, path);
      return block;
    }
    const most = BLOCKS - FIRST_LIST_BLOCK;
    throw new FnError('network.unavailable', `functions on this node use ${most} different egress lists, the most`, {
      hint: 'Let functions share a list, or stop some.',
    });
  }

  #activeLists(): [number, readonly string[]][] {
    const used = new Set(this.#members.values());
    return [...this.#lists].filter(([block]) => used.has(block));
  }

  #policy(lists: readonly [number, readonly string[]][]): Policy {
    return {
      resolver: findResolver(this.#config.dns),
      lists: lists.map(([block, list]) => {
        const { ranges, names } = destinations(list);
        const found = names.flatMap((name) => this.#names.addresses(name));
        return { block, ranges: [...new Set([...ranges, ...found])], resolves: names.length > 0 };
      }),
    };
  }

  #path(id: SandboxId, block: number): string {
    return join(this.#directory, `${id}.${block}`);
  }

  #readState(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#directory)) {
      const member = parseMember(name);
      if (member) this.#members.set(member.id, member.block);
    }
    try {
      const stored = JSON.parse(readFileSync(join(this.#directory, 'lists.json'), 'utf8')) as [number, string[]][];
      for (const [block, list] of stored) this.#lists.set(block, list);
    } catch {
      // Never written. If it was lost, its sandboxes reach nothing: a block without a list allows nothing.
    }
  }
}

/** What the CNI plugin ptp is asked for. The router's end has the same address on every interface: the resolver's. */
function interfaceConfig(address: string): object {
  return {
    cniVersion: '0.4.0', // Every release since 2019 knows it.
    name: 'fn',
    type: 'ptp',
    ipam: {
      type: 'static',
      addresses: [{ address: `${address}/15`, gateway: SANDBOX_RESOLVER }],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
}

function parseMember(file: string): { id: SandboxId; block: number } | undefined {
  const [name = '', block = '', ...rest] = file.split('.');
  const id = parseSandboxId(name);
  return id && /^\d{1,2}$/.test(block) && rest.length === 0 ? { id, block: Number(block) } : undefined;
}

/** The list comes from the store: what is no destination allows nothing, and never becomes part of a rule. */
function destinations(list: readonly string[]): { ranges: string[]; names: string[] } {
  const parsed = list.map(parseDestination);
  return {
    ranges: parsed.flatMap((one) => (one && 'range' in one ? one.range : [])),
    names: parsed.flatMap((one) => (one && 'name' in one ? one.name : [])),
  };
}

function keysOf(lists: readonly [number, readonly string[]][]): Map<number, string> {
  return new Map(lists.map(([block, list]) => [block, egressKey(list)]));
}
