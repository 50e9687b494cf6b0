/** One platform per FN_HOME. The lock file names its holder by pid and start time, since pids are used again: a lock whose
 *  holder is gone, after a crash or a reboot, is taken over. */

import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { FnError } from '../../core/errors.ts';

interface Holder {
  readonly pid: number;
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat, and the boot it belongs to. */
  readonly started: string;
}

/** @throws FnError server.running naming the holder. Disposing releases the lock. */
export async function takeLock(path: string): Promise<AsyncDisposable> {
  const started = (await startOf(process.pid)) ?? ''; // Without /proc: a lock that nobody holds.
  const mine = JSON.stringify({ pid: process.pid, started } satisfies Holder);
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, mine, { mode: 0o644 });
  try {
    // A second round follows each stale lock; more than a few mean that something else keeps writing here.
    for (let attempt = 0; attempt < 5; attempt++) {
      if (await linked(temporary, path)) {
        return { [Symbol.asyncDispose]: () => release(path, mine) };
      }
      const found = await readFile(path, 'utf8').catch(() => '');
      const holder = parseHolder(found);
      if (holder && (await startOf(holder.pid)) === holder.started) {
        throw new FnError('server.running', `pid ${holder.pid} holds ${path}`, { data: { pid: holder.pid } });
      }
      await removeStale(path, found, `${temporary}.stale`);
    }
    throw new FnError('server.running', `${path} is being taken by someone else`);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Who runs the platform of this lock, if anyone does. */
export async function lockHolder(path: string): Promise<number | undefined> {
  const holder = parseHolder(await readFile(path, 'utf8').catch(() => ''));
  return holder && (await startOf(holder.pid)) === holder.started ? holder.pid : undefined;
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Moves the lock away and looks at what was moved: when two find the same stale lock, the slower one must not remove the
 *  fresh lock of the faster. */
async function removeStale(path: string, expected: string, aside: string): Promise<void> {
  await rename(path, aside).catch(() => {}); // Someone else was faster.
  const moved = await readFile(aside, 'utf8').catch(() => expected);
  if (moved !== expected) await linked(aside, path);
  await rm(aside, { force: true });
}

async function release(path: string, mine: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true });
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
