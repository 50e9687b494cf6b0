/** A profile as a list of its items, `process.rlimits RLIMIT_CORE {…}`, and which of them no test takes away, and why. */

import type { Profile, Protection, Scene } from './protection.ts';
import { PROTECTIONS } from './protections.ts';

const FUNCTIONAL = 'without it no function would run';
const NAMES = 'a name: sandbox.test.ts sees it';

/** What an item begins with. */
export const NOT_TAKEN_AWAY: Readonly<Record<string, string>> = {
  ociVersion: FUNCTIONAL,
  hostname: NAMES,
  'process.args': FUNCTIONAL, // Save the init, which is a protection.
  'process.cwd': FUNCTIONAL,
  'process.env': NAMES,
  'process.terminal': 'no runtime starts a container with a terminal unless somebody holds the other end',
  'root.path': FUNCTIONAL,
  'mounts /dev strictatime': FUNCTIONAL,
  'mounts /dev/shm mode': FUNCTIONAL,
  'mounts /task rbind': FUNCTIONAL,
  'mounts /tmp mode': FUNCTIONAL,
  'linux.cgroupsPath': FUNCTIONAL,
  'linux.namespaces {"type":"mount"}': 'no runtime gives a container a root without it',
};

/** Those of the profile that no protection takes away, by what they begin with if that is known. */
export function itemsLeft(profile: () => Profile): string[] {
  const taken = new Set(PROTECTIONS.flatMap((protection) => itemsTaken(profile, protection)));
  const left = itemsOf(profile()).filter((item) => !taken.has(item));
  const known = Object.keys(NOT_TAKEN_AWAY);
  return [...new Set(left.map((item) => known.find((start) => item.startsWith(start)) ?? item))];
}

const NOWHERE: Scene = { port: 0, hostPid: 0, namespaces: {}, shared: '', marked: '' };

function itemsTaken(profile: () => Profile, { also, remove }: Protection): string[] {
  const before = profile();
  also?.(before, NOWHERE);
  const after = structuredClone(before);
  remove(after);
  const left = new Set(itemsOf(after));
  return itemsOf(before).filter((item) => !left.has(item));
}

function itemsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [`${path} ${JSON.stringify(value)}`];
  if (Array.isArray(value)) {
    return value.length === 0 ? [`${path} none`] : value.flatMap((one) => itemsOfElement(one, path));
  }
  return Object.entries(value).flatMap(([name, inner]) => itemsOf(inner, path ? `${path}.${name}` : name));
}

/** Elements have no names but what they are about. */
function itemsOfElement(element: unknown, path: string): string[] {
  if (typeof element !== 'object' || element === null) return [`${path} ${String(element)}`];
  const { destination, options, names } = element as { destination?: string; options?: string[]; names?: string[] };
  if (destination !== undefined) return (options ?? []).map((option) => `${path} ${destination} ${option}`);
  if (names !== undefined && names.length > 1) return [`${path} the list`];
  return [`${path} ${JSON.stringify(element)}`];
}
