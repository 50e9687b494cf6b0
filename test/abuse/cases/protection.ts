/** One item of the sandbox profile as a test sees it: how to take it away, and a probe that tells whether it is there. */

/** What sandboxProfile returns, as far as it is changed here. */
export interface Profile {
  hostname?: string;
  process: {
    args: string[];
    user: { uid: number; gid: number };
    noNewPrivileges: boolean;
    capabilities: Record<string, string[]>;
    rlimits: { type: string }[];
  };
  root: { readonly: boolean };
  hooks?: object;
  mounts: { destination: string; type?: string; source?: string; options: string[] }[];
  linux: {
    cgroupsPath: string;
    namespaces: { type: string }[];
    uidMappings?: object;
    gidMappings?: object;
    resources: { devices: object[]; memory?: { limit: number; swap?: number }; pids?: object; cpu?: object };
    maskedPaths: string[];
    readonlyPaths: string[];
    rootfsPropagation?: string;
    seccomp?: { syscalls: { names: string[]; action: string; args?: object[]; errnoRet?: number }[] };
  };
}

/** What the rooms below hold for the probes. */
export interface Scene {
  /** A port of the host's loopback on which somebody listens. */
  readonly port: number;
  readonly hostPid: number;
  /** Our own namespaces, as links. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** The prober's code on a shared mount, with an empty directory `later`. */
  readonly shared: string;
  /** A directory with a file `marker` in it. */
  readonly marked: string;
}

/** What the host does with a container that is made but not started. */
export type Meanwhile = (pid: number, scene: Scene) => void | Promise<void>;

export interface Protection {
  readonly name: string;
  readonly remove: (profile: Profile) => void;
  /** Changes both runs. */
  readonly also?: (profile: Profile, scene: Scene) => void;
  /** Where the other runtime would hold it anyway; runc otherwise. */
  readonly driver?: 'crun';
  readonly meanwhile?: Meanwhile;
  readonly probe: string;
  readonly args?: (scene: Scene) => Readonly<Record<string, string | number>>;
  /** What the host sees of a container that is made but not started: then it never is, and there is no probe. */
  readonly outside?: (pid: number) => unknown;
  /** What the host sees when it is over; the value is then `{ said, seen }`. */
  readonly afterwards?: (scene: Scene) => unknown;
  readonly held: (value: unknown, scene: Scene) => boolean;
  /** How the second run differs; by default: whatever is not held. */
  readonly open?: (value: unknown, scene: Scene) => boolean;
}

export const is =
  (...codes: readonly string[]) =>
  (value: unknown): boolean =>
    codes.includes(String(value));
export const isOk = is('ok');
export const stopped = (value: unknown): boolean => (value as { stopped?: string }).stopped !== 'never';
export const at = (value: unknown, ...keys: readonly string[]): unknown =>
  keys.reduce<unknown>((inner, key) => Object(inner)[key] as unknown, value);
/** Of an object with a word for each thing: every one that is there at all is that word. */
export const all =
  (word: string) =>
  (value: unknown): boolean => {
    const there = Object.values(Object(value) as object).filter((one) => one !== 'not there');
    return there.length > 0 && there.every((one) => one === word);
  };
/** Of what mounts/options says. */
export const hasOption = (value: unknown, mount: string, option: string): boolean =>
  ((at(value, mount) ?? []) as string[]).includes(option);

/** Several changes, one after the other. */
export const both =
  (...changes: readonly ((profile: Profile, scene: Scene) => void)[]) =>
  (profile: Profile, scene: Scene): void => {
    for (const change of changes) change(profile, scene);
  };
export const withoutNamespace =
  (type: string) =>
  ({ linux }: Profile): void => {
    linux.namespaces = linux.namespaces.filter((one) => one.type !== type);
  };
/** They set the limits of the user namespace, and refuse to where it is not the sandbox's own. */
export const withoutHooks = (profile: Profile): void => {
  delete profile.hooks;
};
export const withoutUserNamespace = (profile: Profile): void => {
  withoutNamespace('user')(profile);
  delete profile.linux.uidMappings;
  delete profile.linux.gidMappings;
  withoutHooks(profile);
};
export const withoutOption =
  (destination: string, option: RegExp) =>
  ({ mounts }: Profile): void => {
    for (const mount of mounts) {
      if (mount.destination === destination) mount.options = mount.options.filter((one) => !option.test(one));
    }
  };
export const asRoot = ({ process }: Profile): void => {
  process.user = { uid: 0, gid: 0 };
};
export const withoutSeccomp = ({ linux }: Profile): void => {
  delete linux.seccomp;
};
export const withNewPrivileges = ({ process }: Profile): void => {
  process.noNewPrivileges = false;
};
export const withAllDevices = ({ linux }: Profile): void => {
  linux.resources.devices = [{ allow: true, access: 'rwm' }];
};

export const withCapability =
  (...names: readonly string[]) =>
  ({ process }: Profile): void => {
    for (const set of Object.keys(process.capabilities)) process.capabilities[set] = [...names];
  };

export function limit(type: string, row: string, most: number): Protection {
  return {
    name: `RLIMIT_${type}`,
    remove: ({ process }) => {
      process.rlimits = process.rlimits.filter((one) => one.type !== `RLIMIT_${type}`);
    },
    probe: 'limits/limits',
    held: (value) => Number(at(value, row, '1')) <= most,
  };
}

export function namespace(type: string, name: string, also?: (profile: Profile) => void): Protection {
  return {
    name: `${type} namespace`,
    ...(also && { also }),
    remove: withoutNamespace(type),
    probe: 'visibility/namespace',
    args: () => ({ name }),
    held: (value, { namespaces }) => value !== namespaces[name],
  };
}
