/** The DNS server that answers functions: the machine's own, so that they see the names it sees. A server on loopback cannot
 *  be reached from another namespace; systemd-resolved, the usual one, names its upstream in a file of its own. No public
 *  service is asked in its place: who learns which names are looked up is the operator's to decide (FN_DNS). */

import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** Read each time it is asked: the file changes when a machine changes networks. */
export function findResolver(setting: string, files: readonly string[] = FILES): string | undefined {
  return setting || files.flatMap(nameservers).find((address) => isIPv4(address) && !address.startsWith('127.'));
}

function nameservers(path: string): string[] {
  try {
    return [...readFileSync(path, 'utf8').matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].flatMap(
      ([, address]) => address ?? [],
    );
  } catch {
    return []; // Not there.
  }
}
