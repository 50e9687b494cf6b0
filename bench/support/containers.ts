/** The baselines of cold starts, each of which has its turn when a benchmark says so: node on the host, and node in a plain
 *  container of crun, runc and podman. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Millis } from '../../core/units.ts';
import type { ContainersSetup } from '../cold/containers.ts';
import { cleanEnvironment } from './environment.ts';
import { quiet } from './quiet.ts';

const PROGRAM = join(import.meta.dirname, '../cold/containers.ts');

/** What is started, by the name containers.ts knows it by. */
const STARTS = { node: 'node on the host', crun: 'crun run node', runc: 'runc run node', podman: 'podman run node' };

export class Baselines implements AsyncDisposable {
  /** Why something is not measured. */
  readonly missing: readonly string[];
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #times = new Map<string, Millis[]>();

  private constructor(
    child: ChildProcess,
    directory: string,
    available: readonly string[],
    missing: readonly string[],
  ) {
    this.#child = child;
    this.#directory = directory;
    this.#reader = createInterface({ input: child.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    this.missing = missing;
    for (const start of available) this.#times.set(start, []);
  }

  /** @param home FN_HOME of a platform that has deployed something: its base layer is what containers run on.
   *  @param variants of our profile, as containers.ts names them: they are then measured beside crun, and nothing else. */
  static async open(home: string, variants: readonly string[] = []): Promise<Baselines> {
    const missing: string[] = [];
    const wanted = variants.length > 0 ? ['crun', ...variants] : Object.keys(STARTS);
    const available = wanted.filter((start) => {
      const [program = ''] = start.split(' ');
      if (program === 'node' || isInstalled(program)) return true;
      missing.push(`${start} (not installed)`);
      return false;
    });
    const docker = spawnSync('docker', ['info'], { env: cleanEnvironment(), timeout: 5000 });
    missing.push(
      `docker (${docker.error ? 'not installed' : docker.status === 0 ? 'not compared' : 'no daemon runs'})`,
    );
    const setup: ContainersSetup = {
      directory: await mkdtemp(join(tmpdir(), 'fnb-')),
      rootfs: await baseLayer(home),
      images: join(home, 'images'),
    };
    const child = spawn(process.execPath, [PROGRAM], { env: cleanEnvironment(), stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.write(`${JSON.stringify(setup)}\n`);
    return new Baselines(child, setup.directory, available, missing);
  }

  /** Starts each of them once. */
  async turn(): Promise<void> {
    for (const [start, times] of this.#times) {
      await quiet();
      times.push(await this.#time(start));
    }
  }

  series(): { readonly name: string; readonly times: readonly Millis[] }[] {
    return [...this.#times].map(([start, times]) => ({ name: nameOf(start), times }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#reader.close();
    this.#child.stdin?.end();
    await gone;
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #time(start: string): Promise<Millis> {
    this.#child.stdin?.write(`${start}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the baselines ended');
    const answer = JSON.parse(value) as { ms: Millis } | { error: string };
    if ('error' in answer) throw new Error(`${nameOf(start)}: ${answer.error}`);
    return answer.ms;
  }
}

function nameOf(start: string): string {
  return Object.hasOwn(STARTS, start) ? STARTS[start as keyof typeof STARTS] : start;
}

function isInstalled(program: string): boolean {
  return (cleanEnvironment()['PATH'] ?? '').split(':').some((directory) => existsSync(join(directory, program)));
}

/** The unpacked layer that has a node in it. */
async function baseLayer(home: string): Promise<string> {
  const layers = join(home, 'layers');
  for (const name of await readdir(layers)) {
    if (existsSync(join(layers, name, 'usr/local/bin/node'))) return join(layers, name);
  }
  throw new Error(`no base layer in ${layers}`);
}
