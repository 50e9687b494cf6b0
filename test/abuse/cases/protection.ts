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
    resources: { devices: object[]; memory?: object; pids?: object };
    maskedPaths: string[];
    readonlyPaths: string[];
    seccomp?: object;
  };
}

/** What the rooms below hold for the probes. */
export interface Scene {
  /** A port of the host's loopback on which somebody listens. */
  readonly port: number;
  readonly hostPid: number;
  /** Our own namespaces, as links. */
  readonly namespaces: Readonly<Record<string, string>>;
}

export interface Protection {
  readonly name: string;
  readonly remove: (profile: Profile) => void;
  /** Changes both runs. */
  readonly also?: (profile: Profile) => void;
  readonly probe: string;
  readonly args?: (scene: Scene) => Readonly<Record<string, string | number>>;
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

export const withoutNamespace =
  (type: string) =>
  ({ linux }: Profile): void => {
    linux.namespaces = linux.namespaces.filter((one) => one.type !== type);
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

export const withCapability =
  (name: string) =>
  ({ process }: Profile): void => {
    for (const set of Object.keys(process.capabilities)) process.capabilities[set] = [name];
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
    remove: (profile) => {
      withoutNamespace(type)(profile);
      also?.(profile);
    },
    probe: 'visibility/namespace',
    args: () => ({ name }),
    held: (value, { namespaces }) => value !== namespaces[name],
  };
}
