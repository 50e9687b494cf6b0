/** What this process, what it started and its sandboxes hold on the host. By name, so that a leak says what it is; without the
 *  numbers that differ from one sandbox to the next, so that two moments can be compared. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

export interface Held {
  readonly descriptors: readonly string[];
  readonly mounts: readonly string[];
  /** Directories in any hierarchy. */
  readonly cgroups: readonly string[];
  /** Descendants of this process, zombies too. */
  readonly processes: readonly string[];
  /** How many the descendants are in, our own not counted. */
  readonly namespaces: number;
  /** Unix sockets bound to a path. */
  readonly sockets: readonly string[];
  readonly files: readonly string[];
  /** Network interfaces and tables of rules: our namespace's, then the router's. */
  readonly network: readonly string[];
}

/** @param home all paths of interest are below it. @param platform the name of its cgroups. */
export function held(home: string, platform: string): Held {
  const pids = descendants();
  const spaces = (pid: number | 'self'): string[] =>
    list(`/proc/${pid}/ns`).map((name) => linkOf(`/proc/${pid}/ns/${name}`));
  const ours = new Set(spaces('self'));
  return sorted({
    descriptors: list('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`)),
    mounts: linesOf('/proc/self/mountinfo')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((path) => path.startsWith(home)),
    cgroups: list('/sys/fs/cgroup')
      .flatMap((name) => [`/sys/fs/cgroup/fn-${platform}`, `/sys/fs/cgroup/${name}/fn-${platform}`])
      .flatMap((path) => list(path, true).map((name) => `${path}/${name}`)),
    processes: pids.map(nameOf),
    namespaces: new Set(pids.flatMap(spaces).filter((space) => space !== '' && !ours.has(space))).size,
    sockets: linesOf('/proc/net/unix').flatMap((line) => (line.includes(home) ? [line.slice(line.indexOf(home))] : [])),
    files: filesBelow(home),
    network: [...networkOf(), ...networkOf(join(home, 'sandboxes/network/router'))],
  });
}

function sorted(held: Held): Held {
  const entries = Object.entries(held).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map((one: string) => anonymous(one)).sort() : (value as number),
  ]);
  return Object.fromEntries(entries) as Held;
}

/** @param path of another namespace than ours. */
function networkOf(path = '/proc/self/ns/net'): string[] {
  if (!existsSync(path)) return [];
  const script = 'tail -n +3 /proc/net/dev | cut -d: -f1; nft list tables';
  const said = execFileSync('nsenter', [`--net=${path}`, '--', 'sh', '-c', script], { encoding: 'utf8' });
  return said.split('\n').flatMap((line) => line.trim() || []);
}

/** `/home/sandboxes/0a1b2c3d/log` → `/home/sandboxes/#/log`, `socket:[123]` → `socket:[#]`. */
function anonymous(name: string): string {
  return name.replaceAll(/\b[0-9a-f]{8}\b/g, '#').replaceAll(/task-\d+|\[\d+\]|\bveth\w+/g, '#');
}

function descendants(): number[] {
  const parents = new Map(
    list('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => [Number(pid), Number(/\) \S (\d+) /.exec(linesOf(`/proc/${pid}/stat`)[0] ?? '')?.[1])]),
  );
  const isOurs = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent === process.pid || (parent !== undefined && parent > 1 && isOurs(parent));
  };
  return [...parents.keys()].filter(isOurs);
}

/** Whether it runs or sleeps does not matter, whether it is a zombie does. */
function nameOf(pid: number): string {
  const [, name = '', state = ''] = /^\d+ (\(.*\)) (.)/.exec(linesOf(`/proc/${pid}/stat`)[0] ?? '') ?? [];
  return state === 'Z' ? `${name} zombie` : name;
}

/** The base layer does not change, and has thousands of files. */
function filesBelow(directory: string): string[] {
  return list(directory).flatMap((name) => {
    const path = join(directory, name);
    return name === 'base' ? [] : [path, ...filesBelow(path)];
  });
}

function list(directory: string, onlyDirectories = false): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => !onlyDirectories || entry.isDirectory()).map(({ name }) => name);
  } catch {
    return []; // Not a directory, or gone.
  }
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n').filter(Boolean);
  } catch {
    return []; // The process has ended.
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // The descriptor that read the directory, or of a process that has ended.
  }
}
