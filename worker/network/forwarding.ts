/** Lets the machine forward the router's packets, and nothing more than it did before. The kernel's switch is per interface
 *  and per direction of arrival, so the interfaces towards the outside must have it too; a rule keeps them from forwarding
 *  what is not for a platform of ours. The last platform to leave puts everything back. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { run } from './commands.ts';
import { FORWARDING_SET, FORWARDING_TABLE, forwardingRules, LINK_PREFIX } from './rules.ts';

export class Forwarding {
  /** Interfaces that we, or a platform before us, switched on. The kernel's table has them too, for the next worker. */
  readonly #switched = new Set<string>();

  /** Idempotent. Interfaces with a route when it is called are the ones that count. */
  async allow(link: string): Promise<void> {
    writeFileSync(switchOf(link), '1');
    const routes = JSON.parse(await run('ip', ['-json', '-4', 'route', 'show'])) as { dev?: string }[];
    const names = new Set(routes.flatMap(({ dev }) => dev ?? []));
    const off = [...names].filter((name) => !isOurs(name) && readFileSync(switchOf(name), 'utf8').trim() === '0');
    for (const name of [...off, ...(await recorded())]) this.#switched.add(name);
    if (this.#switched.size === 0) return;
    await run('nft', ['-f', '-'], forwardingRules([...this.#switched])); // Before the switch: no moment without the rule.
    for (const name of off) writeFileSync(switchOf(name), '1');
  }

  /** Call it when the platform's own link is gone. */
  async restore(): Promise<void> {
    const links = JSON.parse(await run('ip', ['-json', 'link', 'show'])) as { ifname: string }[];
    if (links.some(({ ifname }) => isOurs(ifname))) return;
    for (const name of [...this.#switched, ...(await recorded())]) {
      if (existsSync(switchOf(name))) writeFileSync(switchOf(name), '0');
    }
    this.#switched.clear();
    await run('nft', ['delete', 'table', 'inet', FORWARDING_TABLE]).catch(() => ''); // It was never needed.
  }
}

// These files speak of the network namespace of the thread that opens them: ours, which those of the thread pool, which
// serve the asynchronous calls, need not share.
function switchOf(name: string): string {
  return `/proc/sys/net/ipv4/conf/${name}/forwarding`;
}

async function recorded(): Promise<string[]> {
  const listed = await run('nft', ['-json', 'list', 'set', 'inet', FORWARDING_TABLE, FORWARDING_SET]).catch(() => '{}');
  const { nftables = [] } = JSON.parse(listed) as { nftables?: { set?: { elem?: string[] } }[] };
  return nftables.flatMap(({ set }) => set?.elem ?? []);
}

interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

/** Chains of other software that forward nothing they do not know (Docker's, ufw's): our accepting is not enough then. */
export async function foreignBarriers(): Promise<string[]> {
  const { nftables } = JSON.parse(await run('nft', ['-json', 'list', 'chains'])) as { nftables: { chain?: Chain }[] };
  return nftables
    .flatMap(({ chain }) => chain ?? [])
    .filter(
      ({ family, hook, policy }) => hook === 'forward' && policy === 'drop' && (family === 'ip' || family === 'inet'),
    )
    .map(({ family, table, name }) => `${family} ${table} ${name}`);
}

function isOurs(name: string): boolean {
  return name.startsWith(LINK_PREFIX);
}
