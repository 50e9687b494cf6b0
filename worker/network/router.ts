/** The platform's router: a network namespace between the sandboxes and the machine. Sandboxes' interfaces, their routes and
 *  the rules about them live there and not among the machine's own, where one link and one small table are all there is to
 *  see. It outlives the worker (it is mounted on a file), and everything in it goes with it. */

import { statfsSync, rmSync, writeFileSync } from 'node:fs';
import { FnError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { unmount } from '../native.ts';
import { chooseLink, type LinkAddresses } from './addresses.ts';
import { makeNamespace, run, runIn } from './commands.ts';
import { foreignBarriers, Forwarding } from './forwarding.ts';
import { LINK_PREFIX, type ListRule, machineRules, routerRules, tableOf, UPLINK } from './rules.ts';

const NSFS_MAGIC = 0x6e_73_66_73;

/** The two sets of rules follow from this. */
export interface Policy {
  readonly resolver: string | undefined;
  readonly lists: readonly ListRule[];
}

export class Router {
  readonly path: string;
  readonly #platform: string;
  readonly #log: Log;
  readonly #link: string;
  readonly #forwarding = new Forwarding();
  #addresses: LinkAddresses | undefined;
  #inside = '';
  #outside = '';

  /** @param path the file it is mounted on */
  constructor(path: string, platform: string, log: Log) {
    this.path = path;
    this.#platform = platform;
    this.#log = log;
    this.#link = `${LINK_PREFIX}${platform}`;
  }

  /** An earlier worker may have made it. */
  get exists(): boolean {
    try {
      return statfsSync(this.path).type === NSFS_MAGIC;
    } catch {
      return false;
    }
  }

  /** Makes what is missing of it. The rules come first: nothing is connected without them. */
  async ensure(policy: Policy): Promise<void> {
    if (!this.exists) {
      writeFileSync(this.path, '');
      await makeNamespace(this.path);
      this.#inside = '';
    }
    await this.#applyInside(policy);
    this.#addresses = (await this.#findLink()) ?? (await this.#makeLink());
    const { machine, router } = this.#addresses;
    await runIn(
      this.path,
      'ip',
      ['-batch', '-'],
      `address replace ${router}/30 dev ${UPLINK}\nlink set ${UPLINK} up\nroute replace default via ${machine}\n`,
    );
    await runIn(this.path, 'sh', ['-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
    await this.#applyOutside(policy);
    await this.#forwarding.allow(this.#link);
    const barriers = await foreignBarriers();
    if (barriers.length > 0) {
      this.#log.warn(
        { chains: barriers, interfaces: `${LINK_PREFIX}*` },
        'a firewall of this machine forwards nothing it does not know: let these interfaces through, or functions reach nothing',
      );
    }
  }

  /** Brings the rules up to date; those on the machine also when someone else has removed them. */
  async apply(policy: Policy): Promise<void> {
    await this.#applyInside(policy);
    const there = await run('nft', ['list', 'table', 'inet', tableOf(this.#link)]).catch(() => undefined);
    if (there === undefined || !(await this.#findLink())) {
      this.#log.warn({ table: tableOf(this.#link) }, 'the network rules or link of the platform were gone; made again');
      this.#outside = '';
      await this.ensure(policy);
    } else {
      await this.#applyOutside(policy);
    }
  }

  /** Idempotent. */
  async remove(): Promise<void> {
    await run('ip', ['link', 'delete', this.#link]).catch(() => ''); // It is not there.
    while (this.exists && unmount(this.path));
    rmSync(this.path, { force: true });
    await run('nft', ['delete', 'table', 'inet', tableOf(this.#link)]).catch(() => '');
    await this.#forwarding.restore();
    this.#inside = this.#outside = '';
  }

  async #applyInside({ resolver, lists }: Policy): Promise<void> {
    const rules = routerRules(resolver, lists);
    if (rules === this.#inside) return;
    await runIn(this.path, 'nft', ['-f', '-'], rules);
    this.#inside = rules;
  }

  async #applyOutside({ resolver }: Policy): Promise<void> {
    if (!this.#addresses) throw new FnError('internal', 'the router has no link yet');
    const rules = machineRules({ name: this.#link, router: this.#addresses.router }, resolver);
    if (rules === this.#outside) return;
    await run('nft', ['-f', '-'], rules);
    this.#outside = rules;
  }

  /** Undefined when an end is missing, or the maker died before it was complete: the address comes last. */
  async #findLink(): Promise<LinkAddresses | undefined> {
    try {
      await runIn(this.path, 'ip', ['link', 'show', UPLINK]);
      const [link] = JSON.parse(await run('ip', ['-json', '-4', 'address', 'show', 'dev', this.#link])) as {
        addr_info?: { local: string }[];
      }[];
      const machine = link?.addr_info?.[0]?.local;
      const router = machine?.replace(/\d+$/, (last) => String(Number(last) + 1));
      return machine && router ? { machine, router } : undefined;
    } catch {
      return undefined;
    }
  }

  async #makeLink(): Promise<LinkAddresses> {
    await run('ip', ['link', 'delete', this.#link]).catch(() => '');
    const routes = JSON.parse(await run('ip', ['-json', '-4', 'route', 'show', 'table', 'all'])) as { dst: string }[];
    const addresses = chooseLink(
      this.#platform,
      routes.map(({ dst }) => dst).filter((dst) => dst !== 'default'),
    );
    const lines = [
      `link add ${this.#link} type veth peer name ${UPLINK} netns ${this.path}`,
      `link set ${this.#link} up`,
      `address add ${addresses.machine}/30 dev ${this.#link}`,
    ];
    await run('ip', ['-batch', '-'], `${lines.join('\n')}\n`);
    return addresses;
  }
}
