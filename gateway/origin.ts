/** Where a request came from when it came through a proxy. What a proxy says is believed only of proxies that are ours
 *  (FN_TRUSTED_PROXIES), and only as far as such proxies vouch for it: the list of addresses is read from its end, each
 *  entry being what the proxy after it saw, and the first that is not one of ours is the client. Whatever a client wrote
 *  into the field stands before that.
 *
 *  X-Forwarded-For counts before Forwarded (RFC 7239), that before X-Real-IP: of two fields the proxy sets one and may pass
 *  on the other as a client sent it, and nearly all set X-Forwarded-For. */

import { isIP } from 'node:net';
import { type AddressSet, plainAddress } from '../core/addresses.ts';
import { valuesOf } from './policy/fields.ts';

export type Scheme = 'http' | 'https';

export interface Origin {
  readonly address: string;
  /** How the client spoke to the first of our proxies, when it says so. */
  readonly scheme: Scheme | undefined;
  /** The Host that the client asked for, when a proxy replaced it. */
  readonly host: string | undefined;
}

/** @param peer the proxy that the connection is with.
 *  @param fields the lines of the request that only proxies may send. */
export function originOf(peer: string, fields: string, proxies: AddressSet): Origin {
  const addresses = valuesOf(fields, 'x-forwarded-for');
  const elements = elementsOf(valuesOf(fields, 'forwarded').join(','));
  const real = valuesOf(fields, 'x-real-ip');
  if (addresses.length > 0 || elements.length === 0) {
    const seen = addresses.length > 0 ? addresses.join(',').split(',') : real.slice(-1);
    return {
      address: clientAmong(seen, peer, proxies).address,
      scheme: schemeOf(valuesOf(fields, 'x-forwarded-proto').at(-1)?.split(',').at(-1)),
      host: hostOf(valuesOf(fields, 'x-forwarded-host').at(-1)?.split(',').at(-1)),
    };
  }
  const seen = elements.map((element) => element['for'] ?? '');
  const { address, index } = clientAmong(seen, peer, proxies);
  const element = elements[index];
  return { address, scheme: schemeOf(element?.['proto']), host: hostOf(element?.['host']) };
}

/** The last address that is not one of our proxies, or the furthest proxy, and its place. */
function clientAmong(
  seen: readonly string[],
  peer: string,
  proxies: AddressSet,
): { readonly address: string; readonly index: number } {
  let found = { address: peer, index: seen.length };
  for (let index = seen.length - 1; index >= 0; index--) {
    const address = addressIn(seen[index]!);
    if (address === undefined) break; // "unknown", or worse: nobody says what was before.
    found = { address, index };
    if (!proxies.has(address)) break;
  }
  return found;
}

/** `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`. */
function addressIn(text: string): string | undefined {
  const trimmed = text.trim();
  const inner = /^\[([0-9a-f:.]+)\](?::\d+)?$/i.exec(trimmed)?.[1] ?? trimmed.replace(/^([\d.]+):\d+$/, '$1');
  return isIP(inner) === 0 || inner.includes('%') ? undefined : plainAddress(inner);
}

/** The elements of a Forwarded field: its parameters by lower-case name, quotes undone. */
function elementsOf(value: string): Readonly<Record<string, string>>[] {
  return (value.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []).map((element) =>
    Object.fromEntries(
      (element.match(/(?:[^;"]|"(?:[^"\\]|\\.)*")+/g) ?? []).map((pair) => {
        const [name = '', ...rest] = pair.split('=');
        const text = rest.join('=').trim();
        return [name.trim().toLowerCase(), text.replace(/^"(.*)"$/, '$1').replaceAll(/\\(.)/g, '$1')];
      }),
    ),
  );
}

function schemeOf(text: string | undefined): Scheme | undefined {
  const scheme = text?.trim().toLowerCase();
  return scheme === 'http' || scheme === 'https' ? scheme : undefined;
}

function hostOf(text: string | undefined): string | undefined {
  const host = text?.trim();
  return host !== undefined && /^[\w.:[\]-]{1,255}$/.test(host) ? host : undefined;
}
