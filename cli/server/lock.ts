/** One platform per FN_HOME. The lock file names its holder by pid and start time, since pids are used again: a lock whose
 *  holder is gone, after a crash or a reboot, is taken over. Reading and taking are one step: a socket with an abstract name
 *  guards it, which the kernel lets one process have at a time and takes back when that process dies. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import type { Role } from '../../core/service.ts';
import type { Millis } from '../../core/units.ts';

const GUARD_WITHIN: Millis = 5000;

interface Holder {
  readonly pid: number;
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat, and the boot it belongs to. */
  readonly started: string;
}

/** Of a node's processes these two may be there only once: one has all sandboxes, the other all images. Without `fn server`
 *  each holds a lock of its own. */
const ALONE: readonly Role[] = ['worker', 'builder'];

const lockOf = ({ home }: Config, role: Role): string => join(home, `${role}.lock`);

/** For `fn server`. @throws FnError server.running */
export async function lockServer(config: Config): Promise<AsyncDisposable> {
  const lock = await takeLock(config.paths.lock);
  try {
    for (const role of ALONE) {
      const pid = await lockHolder(lockOf(config, role));
      if (pid !== undefined) throw running(pid, `is the ${role} of ${config.home}`);
    }
    return lock;
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

/** For a process that no `fn server` has started: beside one it would take over its sandboxes, images and sockets. Both sides
 *  take their own lock before they look for the other's. @throws FnError server.running */
export async function lockRole(config: Config, role: Role): Promise<AsyncDisposable> {
  await using held = new AsyncDisposableStack();
  if (ALONE.includes(role)) held.use(await takeLock(lockOf(config, role)));
  const pid = await lockHolder(config.paths.lock);
  if (pid === undefined) return held.move();
  throw running(pid, `runs all of the platform in ${config.home}`, `"fn restart ${role}" replaces its ${role}; or`);
}

function running(pid: number, what: string, instead = 'Stop it, or'): FnError {
  const hint = `${instead} use another FN_HOME and other ports.`;
  return new FnError('server.running', `pid ${pid} ${what}`, { data: { pid }, hint });
}

/** @throws FnError server.running naming the holder. Disposing releases the lock. */
export async function takeLock(path: string): Promise<AsyncDisposable> {
  await using _ = await guard(path);
  const holder = await lockHolder(path);
  if (holder !== undefined) {
    throw new FnError('server.running', `pid ${holder} holds ${path}`, { data: { pid: holder } });
  }
  const started = (await startOf(process.pid)) ?? ''; // Without /proc: a lock that nobody holds.
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, JSON.stringify({ pid: process.pid, started } satisfies Holder), { mode: 0o644 });
  await rename(temporary, path); // Whole or not at all, also for those who only look.
  return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
}

/** Who runs the platform of this lock, if anyone does. */
export async function lockHolder(path: string): Promise<number | undefined> {
  const holder = parseHolder(await readFile(path, 'utf8').catch(() => ''));
  return holder && (await startOf(holder.pid)) === holder.started ? holder.pid : undefined;
}

async function guard(path: string): Promise<AsyncDisposable> {
  const name = `\0fn-lock-${createHash('sha256').update(path).digest('hex').slice(0, 32)}`;
  const end = performance.now() + GUARD_WITHIN;
  for (;;) {
    const server = createServer();
    try {
      server.listen(name);
      await once(server, 'listening');
      return server;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || performance.now() > end) throw error;
      await sleep(10);
    }
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value = JSON.parse(text) as Partial<Holder>;
    return typeof value.pid === 'number' && typeof value.started === 'string' ? (value as Holder) : undefined;
  } catch {
    return undefined; // Cut short by a crash: nobody holds it.
  }
}

async function startOf(pid: number): Promise<string | undefined> {
  try {
    const [boot, stat] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    // The command, field 2, may hold spaces and parentheses: count from the last one.
    return `${boot.trim()}/${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return undefined; // No such process.
  }
}
