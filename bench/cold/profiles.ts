/** The profile of our sandboxes with one item taken out, for what that item costs a start. */

import { nodeFlags } from '../../runtime/node/flags.mjs';
import type { Bytes } from '../../core/units.ts';
import { sandboxProfile } from '../../worker/sandbox/profile.ts';

/** As much of it as is taken out. */
export interface Profile {
  hooks?: object;
  process: { args: string[]; rlimits: object[] };
  linux: {
    namespaces: { type: string }[];
    uidMappings?: object[];
    gidMappings?: object[];
    seccomp?: object;
    resources: object;
    maskedPaths: string[];
    readonlyPaths: string[];
  };
}

const MEMORY: Bytes = 256 * 2 ** 20;
/** Of nobody on any machine. */
const HOST_ID = 1_500_000_000;

function dropNamespaces(profile: Profile, types: readonly string[]): void {
  profile.linux.namespaces = profile.linux.namespaces.filter(({ type }) => !types.includes(type));
}

/** How to take each item out. */
export const ITEMS: Readonly<Record<string, { readonly name: string; readonly remove: (profile: Profile) => void }>> = {
  nothing: { name: 'the whole profile', remove: () => {} },
  user: {
    name: 'user namespace',
    remove: (profile) => {
      dropNamespaces(profile, ['user']);
      delete profile.linux.uidMappings;
      delete profile.linux.gidMappings;
      delete profile.hooks; // Limits it.
    },
  },
  network: { name: 'network namespace', remove: (profile) => dropNamespaces(profile, ['network']) },
  names: {
    name: 'ipc and cgroup namespaces',
    remove: (profile) => dropNamespaces(profile, ['ipc', 'cgroup']),
  },
  seccomp: {
    name: 'system call filter',
    remove: (profile) => {
      delete profile.linux.seccomp;
    },
  },
  paths: {
    name: 'masked and read-only paths',
    remove: (profile) => {
      profile.linux.maskedPaths = [];
      profile.linux.readonlyPaths = [];
    },
  },
  limits: {
    name: 'cgroup and process limits',
    remove: (profile) => {
      profile.linux.resources = {};
      profile.process.rlimits = [];
    },
  },
  init: { name: 'init (reaps, passes signals on)', remove: (profile) => void profile.process.args.splice(0, 3) },
};

/** @param item a key of ITEMS */
export function profileWithout(item: string, place: { readonly rootfs: string; readonly task: string }): Profile {
  const profile = sandboxProfile({
    ...place,
    cgroupsPath: '',
    hostId: HOST_ID,
    memory: MEMORY,
    nodeFlags: nodeFlags(MEMORY),
    arch: process.arch,
  }) as Profile;
  ITEMS[item]?.remove(profile);
  return profile;
}
