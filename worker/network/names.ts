/** The addresses of the host names in egress lists. Asked of the same server as the functions ask, again and again: an
 *  address stays allowed for an hour after it was last seen, so that services which rotate theirs stay reachable. */

import { Resolver } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import type { Millis } from '../../core/units.ts';

const HOLD: Millis = 3_600_000;
const ANSWER_WITHIN: Millis = 1000;
/** Addresses kept of one name; the ones seen last. */
const ADDRESSES = 64;
const AT_ONCE = 32;

export class Names {
  readonly #seen = new Map<string, Map<string, Millis>>();

  addresses(name: string): string[] {
    return [...(this.#seen.get(name)?.keys() ?? [])];
  }

  /** Asks for each name once and forgets all others. A name that gets no answer keeps what it had. */
  async refresh(names: readonly string[], server: string | undefined, now: Millis): Promise<void> {
    const wanted = [...new Set(names)];
    for (const name of this.#seen.keys()) if (!wanted.includes(name)) this.#seen.delete(name);
    if (server === undefined) return;
    const resolver = new Resolver({ timeout: ANSWER_WITHIN, tries: 2 });
    resolver.setServers([server]);
    for (let next = 0; next < wanted.length; next += AT_ONCE) {
      await Promise.all(
        wanted.slice(next, next + AT_ONCE).map(async (name) => {
          const found = await resolver.resolve4(name).catch(() => []); // No answer is no news.
          this.#note(name, found.filter(isIPv4), now);
        }),
      );
    }
  }

  #note(name: string, found: readonly string[], now: Millis): void {
    const kept = [...(this.#seen.get(name) ?? [])].filter(
      ([address, at]) => now - at < HOLD && !found.includes(address),
    );
    const fresh = found.map((address): [string, Millis] => [address, now]);
    const latest = [...fresh, ...kept.toSorted((a, b) => b[1] - a[1])].slice(0, ADDRESSES);
    this.#seen.set(name, new Map(latest.toSorted(([a], [b]) => a.localeCompare(b))));
  }
}
