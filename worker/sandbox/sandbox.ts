/** One sandbox: a container that runs the generic bootstrap until it is claimed for a function, and that function until it
 *  ends. Whatever it owns on the host is below FN_HOME/sandboxes/<id>, its socket, its cgroup and its uid range, so that a
 *  later process can find and remove all of it by the id alone.
 *
 *  Its files are made and removed without the thread pool: the forty trips there took longer than the 0.3 ms of what they were
 *  for. */

import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AccountFiles, FreezerFile, Sample } from '../../core/account.ts';
import { CLAIM_PATH, type ClaimRequest } from '../../core/control.ts';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import type { Egress } from '../../core/egress.ts';
import { FnError } from '../../core/errors.ts';
import type { SandboxId } from '../../core/ids.ts';
import { closeFd, listenUnix } from '../../core/sockets.ts';
import type { Bytes, Millis } from '../../core/units.ts';
import { nodeFlags } from '../../runtime/node/flags.mjs';
import type { Cgroup, CgroupManager } from '../cgroup/cgroup.ts';
import type { Networks } from '../network/networks.ts';
import { makeFifo, mount, MS_BIND, reap, unmount } from '../native.ts';
import { Line, type Reply } from './line.ts';
import type { Driver } from './driver.ts';
import { endOf } from './end.ts';
import { LogPipe, type PipeLine } from './log-pipe.ts';
import { PIDS_LIMIT, sandboxProfile } from './profile.ts';
import type { UidSlots } from './slots.ts';

export interface SandboxHost {
  readonly config: Config;
  readonly driver: Driver;
  readonly cgroups: CgroupManager;
  readonly networks: Networks;
  readonly slots: UidSlots;
  /** Sandboxes some part of this worker answers for; every other one on the host is an orphan. */
  readonly living: Set<SandboxId>;
}

/** What makes a warm sandbox fit: fixed when it starts. */
export interface SandboxClass {
  /** Directory of the unpacked base layer. */
  readonly rootfs: string;
  /** V8's heap limits and the cgroup's limit derive from it. */
  readonly memory: Bytes;
  readonly egress: Egress;
}

/** How a sandbox ended, as the host saw it. `exitCode` and `signal` are absent when nobody could tell. */
export interface SandboxEnd {
  readonly exitCode?: number;
  readonly signal?: string;
  readonly oomKills: number;
  /** V8 gave up for want of memory, and said so. */
  readonly outOfMemory?: boolean;
  /** What it used in its whole life. Absent when someone removed its group. */
  readonly counters?: Sample;
}

export interface SandboxListener {
  readonly onLines: (lines: readonly PipeLine[]) => void;
  readonly onDropped: (bytes: Bytes) => void;
}

/** Survives the worker: FN_HOME/sandboxes/<id>/state.json. */
export interface SandboxState<Owner> {
  readonly id: SandboxId;
  readonly class: SandboxClass;
  readonly slot: number;
  readonly pid: number;
  /** Start time of the pid in clock ticks since boot: the same number means the same process. */
  readonly pidStart: string;
  /** What it was claimed for. */
  readonly owner?: Owner;
}

const BACKLOG = 512;
const EARLY_LINES = 50;
/** What V8 makes of the bootstrap is 90 KB, and a third more in base64. */
const CODE_LIMIT: Bytes = 512 * 1024;
const POLL: Millis = 2;

export class Sandbox<Owner> implements AsyncDisposable {
  readonly id: SandboxId;
  readonly class: SandboxClass;
  readonly socket: string;
  readonly cgroup: Cgroup;
  readonly pid: number;
  readonly ended: Promise<SandboxEnd>;
  readonly #host: SandboxHost;
  readonly #state: SandboxState<Owner>;
  readonly #pipe: LogPipe;
  #listener: SandboxListener | undefined;
  /** Open from warm() to the claim, which is 0.5 ms faster over it. */
  #line: Line | undefined;
  #gatewayFiles: { readonly account: AccountFiles; readonly freezer: FreezerFile } | undefined;
  /** Lines that came before anyone listened. */
  #early: PipeLine[] = [];
  #over = false;
  /** The next worker's; the end of our pipe then says nothing about it. */
  #released = false;
  #disposal: Promise<void> | undefined;
  /** In the line of those that are being made. */
  #place: Disposable | undefined;

  private constructor(host: SandboxHost, state: SandboxState<Owner>) {
    this.#host = host;
    this.#state = state;
    this.id = state.id;
    this.class = state.class;
    this.pid = state.pid;
    this.socket = socketPath(host.config, state.id);
    this.cgroup = host.cgroups.open(state.id);
    const { promise, resolve } = Promise.withResolvers<SandboxEnd>();
    this.ended = promise;
    this.#pipe = new LogPipe(join(directoryOf(host.config, state.id), 'log'), {
      onLines: (lines) => {
        if (this.#listener) this.#listener.onLines(lines);
        else this.#early = [...this.#early, ...lines].slice(-EARLY_LINES);
      },
      onDropped: (bytes) => this.#listener?.onDropped(bytes),
      onEnd: () => {
        if (this.#released) return;
        this.#over = true;
        this.#place?.[Symbol.dispose]();
        void this.#learnEnd().then(resolve);
      },
    });
  }

  /** Makes and starts one. It runs the bootstrap, though that may not answer yet. Leaves nothing behind when it fails.
   *  @param place the sandbox's, once it has started: disposed of when it first answers, or never will. */
  static async start<Owner>(
    host: SandboxHost,
    id: SandboxId,
    wanted: SandboxClass,
    place?: Disposable,
  ): Promise<Sandbox<Owner>> {
    const { config, driver, cgroups, networks, slots, living } = host;
    const directory = directoryOf(config, id);
    const task = join(directory, 'task');
    const slot = slots.take();
    living.add(id);
    let logFd = -1;
    let listenFd = -1;
    try {
      mkdirSync(task, { recursive: true, mode: 0o711 });
      const profile = sandboxProfile({
        rootfs: wanted.rootfs,
        task,
        cgroupsPath: cgroups.ociPath(id),
        hostId: slots.hostId(slot),
        memory: wanted.memory,
        networkNamespace: await networks.create(id, slot, wanted.egress),
        nodeFlags: nodeFlags(wanted.memory),
        arch: process.arch,
      });
      writeFileSync(join(directory, 'config.json'), JSON.stringify(profile), { mode: 0o600 });
      const log = join(directory, 'log');
      makeFifo(log, 0o600);
      logFd = openSync(log, constants.O_RDWR | constants.O_NONBLOCK);
      const socket = socketPath(config, id);
      listenFd = listenUnix(socket, BACKLOG);
      chownSync(socket, 0, config.gatewayUid); // Who may connect: root and the gateway.
      chmodSync(socket, 0o660);
      const pid = await driver.start({ id, bundle: directory, logFd, listenFd });
      using cgroup = cgroups.open(id);
      cgroup.setLimits({ memory: wanted.memory, pids: PIDS_LIMIT }); // The runtimes leave out what we want of them on v2.
      const state: SandboxState<Owner> = { id, class: wanted, slot, pid, pidStart: startTimeOf(pid) ?? '' };
      writeState(config, state);
      const sandbox = new Sandbox<Owner>(host, state);
      sandbox.#place = place;
      return sandbox;
    } catch (error) {
      const said = logFd >= 0 ? drain(logFd) : '';
      await removeLeftovers(host, id).finally(() => {
        slots.release(slot);
        living.delete(id);
      });
      if (said && error instanceof FnError)
        throw new FnError(error.code, `${error.message}: ${said}`, { cause: error });
      throw error;
    } finally {
      if (listenFd >= 0) closeFd(listenFd);
      if (logFd >= 0) closeSync(logFd);
    }
  }

  /** Takes over one that an earlier worker started, when its process still runs. */
  static adopt<Owner>(host: SandboxHost, state: SandboxState<Owner>): Sandbox<Owner> | undefined {
    if (state.pidStart === '' || startTimeOf(state.pid) !== state.pidStart) return undefined;
    host.slots.adopt(state.slot);
    host.living.add(state.id);
    return new Sandbox(host, state);
  }

  get owner(): Owner | undefined {
    return this.#state.owner;
  }

  /** Where the log goes from now on. */
  listen(listener: SandboxListener): void {
    this.#listener = listener;
    if (this.#early.length > 0) listener.onLines(this.#early);
    this.#early = [];
  }

  /** No process of it is left. */
  get over(): boolean {
    return this.#over;
  }

  /** What the gateway reads and writes of its cgroup: it may freeze and thaw it, and reset the peak of its memory. */
  get gatewayFiles(): { readonly account: AccountFiles; readonly freezer: FreezerFile } {
    const { gatewayUid } = this.#host.config;
    this.#gatewayFiles ??= {
      account: this.cgroup.accountFiles(gatewayUid),
      freezer: this.cgroup.freezerFile(gatewayUid),
    };
    return this.#gatewayFiles;
  }

  /** Resolves when the bootstrap answers: it is warm then. Its first connection is closed and the claim gets another, since
   *  what node does at a connection's end would otherwise be compiled between a claim and the first invocation: 0.6 ms. */
  async warm(timeout: Millis): Promise<void> {
    {
      using line = new Line(this.socket);
      await line.ask('GET', '/_fn/health', undefined, timeout).finally(() => this.#place?.[Symbol.dispose]());
    }
    this.#line = new Line(this.socket);
    void this.gatewayFiles; // Their owner is changed now, and not in a claim.
  }

  /** What V8 makes of the bootstrap. Of one that nobody has claimed, and that can be nothing else afterwards. */
  async compiledCode(timeout: Millis): Promise<Buffer> {
    using line = new Line(this.socket);
    const { body } = await line.ask('GET', '/_fn/code', undefined, timeout, CODE_LIMIT);
    if (typeof body['code'] !== 'string') throw new Error('the bootstrap gives no compiled code');
    return Buffer.from(body['code'], 'base64');
  }

  /** Makes the code appear at /task inside. One mount call on the host; propagation does the rest. */
  mountTask(source: string): void {
    mount(source, join(directoryOf(this.#host.config, this.id), 'task'), null, MS_BIND);
  }

  /** A function's code has been here, so whatever answers may be that function. */
  get wasClaimed(): boolean {
    return readdirSync(join(directoryOf(this.#host.config, this.id), 'task')).length > 0;
  }

  /** Turns it into an instance. Resolves with the bootstrap's reply once the handler is loaded or has failed to. */
  async claim(request: ClaimRequest, timeout: Millis): Promise<Reply> {
    if (!this.#line?.open) this.#line = new Line(this.socket);
    return await this.#line.ask('POST', CLAIM_PATH, request, timeout).finally(() => this.#place?.[Symbol.dispose]());
  }

  /** There is nothing more to ask. Seeing that is work for the sandbox, so not right after a claim. */
  hangUp(): void {
    this.#line?.[Symbol.dispose]();
  }

  /** Notes whose it is, so that a later worker can adopt it. */
  remember(owner: Owner): void {
    if (this.#released) return;
    Object.assign(this.#state, { owner });
    writeState(this.#host.config, this.#state);
  }

  /** Asks it to end, and ends it when it does not within the grace time. Resolves when no process is left. */
  async stop(grace: Millis): Promise<SandboxEnd> {
    if (grace > 0) {
      await this.cgroup.thaw().catch(() => {}); // Gone already: the next lines see it.
      try {
        process.kill(this.pid, 'SIGTERM');
        await Promise.race([this.ended, sleep(grace)]);
      } catch {
        // No such process.
      }
    }
    await this.cgroup.kill();
    return this.ended;
  }

  /** Ends it if need be and removes all it owned on the host. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= (async () => {
      if (!this.#over) await this.cgroup.kill();
      await this.ended;
      this.hangUp();
      this.#pipe[Symbol.dispose]();
      this.cgroup[Symbol.dispose]();
      await removeLeftovers(this.#host, this.id);
      this.#host.slots.release(this.#state.slot);
    })().finally(() => this.#host.living.delete(this.id)); // What failed to go is an orphan, and the next sweep's.
    return this.#disposal;
  }

  /** Lets go without ending it: the next worker adopts it. */
  release(): void {
    this.hangUp();
    this.#released = true;
    this.#pipe[Symbol.dispose]();
    this.cgroup[Symbol.dispose]();
  }

  /** The pipe's end comes moments before the exit status can be collected. A sandbox that another worker started is not our
   *  child; then the init's last line tells. */
  async #learnEnd(): Promise<SandboxEnd> {
    let status = reap(this.pid);
    for (let waited = 0; status === 'running' && waited < 1000; waited += POLL) {
      await sleep(POLL);
      status = reap(this.pid);
    }
    const { initReport, outOfMemory } = this.#pipe;
    return { ...endOf(status, initReport), ...this.#lastCounters(), ...(outOfMemory && { outOfMemory }) };
  }

  #lastCounters(): Pick<SandboxEnd, 'oomKills' | 'counters'> {
    try {
      const { oomKills, cpu, throttled, memoryPeak } = this.cgroup.stats();
      return { oomKills, counters: { cpu, throttled, memoryPeak } };
    } catch {
      return { oomKills: 0 }; // Someone removed the group: nothing can be told from it.
    }
  }
}

export function directoryOf(config: Config, id: SandboxId): string {
  return join(config.paths.sandboxes, id);
}

function socketPath(config: Config, id: SandboxId): string {
  return join(config.paths.run, `${id}.sock`);
}

/** Removes what a sandbox owned, whatever state it is in. Idempotent; needs nothing but the id. */
export async function removeLeftovers(host: SandboxHost, id: SandboxId): Promise<void> {
  const { config, driver, cgroups, networks } = host;
  const cgroup = cgroups.open(id);
  await cgroup.kill();
  await cgroup.remove();
  cgroup[Symbol.dispose]();
  networks.remove(id);
  const directory = directoryOf(config, id);
  while (unmount(join(directory, 'task')));
  driver.forget(id, cgroups.ociPath(id));
  rmSync(socketPath(config, id), { force: true });
  rmSync(directory, { recursive: true, force: true });
}

export async function readState<Owner>(config: Config, id: SandboxId): Promise<SandboxState<Owner> | undefined> {
  try {
    return JSON.parse(await readFile(join(directoryOf(config, id), 'state.json'), 'utf8')) as SandboxState<Owner>;
  } catch {
    return undefined; // Never written, or half: the sandbox is an orphan then.
  }
}

/** Written while a first invocation runs, which would share the processors with other threads. */
function writeState<Owner>(config: Config, state: SandboxState<Owner>): void {
  const path = join(directoryOf(config, state.id), 'state.json');
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function startTimeOf(pid: number): string | undefined {
  try {
    // Field 22, counted after the command name, which may itself contain blanks and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Whatever the runtime wrote before it failed. */
function drain(logFd: number): string {
  const buffer = Buffer.alloc(4096);
  try {
    const size = readSync(logFd, buffer);
    return buffer.toString('utf8', 0, size).trim();
  } catch {
    return ''; // EAGAIN: it wrote nothing.
  }
}
