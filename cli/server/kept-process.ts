/** A child process that is kept running: started again whenever it ends, after a back-off that grows while it keeps
 *  failing and never gives up. The first start is different: its failure is the caller's to report.
 *
 *  It can be replaced while it works: another one is started beside it, and only when that is ready, or can do no more
 *  without what only one may have, the old one is asked to hand over. The old one then finishes what it has in its own time.
 *  Until that moment nothing has changed, so a new one that fails costs nothing.
 *
 *  Children lead a session of their own, so that Ctrl-C in the terminal reaches only us, and we decide the order. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { backoff, sleep } from '../../core/clock.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import { LineSplitter } from '../../core/lines.ts';
import type { Millis } from '../../core/units.ts';

/** One that ran this long starts again at once. */
const HEALTHY_AFTER: Millis = 10_000;
const READY_WITHIN: Millis = 60_000;
/** One that does not let go in this time is ended; its successor takes over as after a crash. */
const RELEASE_WITHIN: Millis = 30_000;
/** What it said last comes a moment after its end. */
const LAST_WORDS_WITHIN: Millis = 500;
const KEPT_LINES = 20;

export interface ProcessEvents {
  readonly onLine: (line: string) => void;
  readonly onRestart: (how: string, afterMs: Millis) => void;
  readonly onReady: (ms: Millis) => void;
}

export interface KeptProcessOptions extends ProcessEvents {
  readonly name: string;
  readonly launch: () => ChildProcess;
  /** Resolves when the child is ready; rejects when it says that it cannot be.
   *  @param takeOver to be awaited before the child may have what only one of its kind may have. */
  readonly ready: (child: ChildProcess, signal: AbortSignal, takeOver: () => Promise<void>) => Promise<void>;
  /** Asks it to hand over to the one that replaces it. Resolves when it has let go of what only one may have. */
  readonly release?: (child: ChildProcess, signal: AbortSignal) => Promise<void>;
}

interface Running {
  readonly child: ChildProcess;
  /** Resolves to how it ended. */
  readonly ended: Promise<string>;
  readonly readyAt: Millis;
}

export interface Replacement {
  readonly oldPid: number | undefined;
  readonly pid: number | undefined;
  readonly ms: Millis;
}

export class KeptProcess {
  readonly #options: KeptProcessOptions;
  #current: Running | undefined;
  #starting: ChildProcess | undefined;
  /** Handed over, and finishing what they have. */
  readonly #leaving = new Map<ChildProcess, Promise<string>>();
  readonly #ending = new AbortController();
  /** Starts, restarts and replacements under way; one at a time. */
  #work: Promise<unknown> = Promise.resolve();
  #failures = 0;

  constructor(options: KeptProcessOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return (this.#current?.child ?? this.#starting)?.pid;
  }

  /** Resolves once it is ready for the first time, rejects when it ends before. */
  start(): Promise<void> {
    const started = this.#run(() => Promise.resolve()).then((running) => this.#adopt(running));
    this.#work = started.catch(() => {}); // The caller hears of it.
    return started;
  }

  /** @throws FnError why the new one is not ready, with its last lines; then the old one is still there, if it could be. */
  replace(): Promise<Replacement> {
    return this.#alone(async () => {
      if (this.#ending.signal.aborted) throw new FnError('process.down', `the ${this.name} is ending`);
      const began = performance.now();
      const old = this.#current;
      let released: Promise<void> | undefined;
      const release = (): Promise<void> => (released ??= old ? this.#release(old) : Promise.resolve());
      const next = await this.#run(release).catch((error: unknown) => {
        // It failed when it had everything: another one is needed now, not when the old one has finished.
        if (old && released) void this.#alone(() => this.#keep(old, toFnError(error).message));
        throw error;
      });
      this.#adopt(next);
      void release(); // One that needs nothing for itself never asked.
      return { oldPid: old?.child.pid, pid: next.child.pid, ms: performance.now() - began };
    });
  }

  /** Asks it to end, kills it after the deadline; resolves when it is gone and will not come back. */
  async end(deadline: Millis): Promise<void> {
    this.#ending.abort();
    const killer = setTimeout(() => this.kill('SIGKILL'), deadline);
    this.kill('SIGTERM');
    await this.#work;
    this.kill('SIGTERM'); // Whatever became ready meanwhile; the same request twice does no harm.
    await Promise.all([this.#current?.ended, ...this.#leaving.values()]);
    clearTimeout(killer);
  }

  kill(signal: NodeJS.Signals): void {
    for (const child of new Set([this.#starting, this.#current?.child, ...this.#leaving.keys()])) child?.kill(signal);
  }

  #alone<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => {}); // The caller hears of it.
    return done;
  }

  #adopt(running: Running): void {
    this.#current = running;
    void running.ended.then((how) => this.#alone(() => this.#keep(running, how)));
  }

  /** Asks the old one to let go; it is no longer kept. */
  async #release(old: Running): Promise<void> {
    this.#leaving.set(old.child, old.ended);
    void old.ended.then(() => this.#leaving.delete(old.child));
    const waiting = new AbortController();
    const inTime = await Promise.race([
      (this.#options.release ?? gone)(old.child, waiting.signal).then(
        () => true,
        () => false,
      ),
      old.ended.then(() => true),
      sleep(RELEASE_WITHIN, waiting.signal).then(() => false),
    ]);
    waiting.abort();
    if (inTime) return;
    old.child.kill('SIGKILL');
    await old.ended;
  }

  /** It has ended: starts it again, unless another one has taken its place. */
  async #keep(ended: Running, how: string): Promise<void> {
    const { signal } = this.#ending;
    if (this.#current !== ended) return;
    if (performance.now() - ended.readyAt > HEALTHY_AFTER) this.#failures = 0;
    let why = how;
    while (!signal.aborted) {
      const wait = backoff(this.#failures++, 100, 5000);
      this.#options.onRestart(why, wait);
      await sleep(wait, signal).catch(() => {}); // Aborted: the next line.
      if (signal.aborted) return;
      try {
        this.#adopt(await this.#run(() => Promise.resolve()));
        return;
      } catch (error) {
        why = (error as Error).message;
      }
    }
  }

  /** Launches and waits for readiness. */
  async #run(takeOver: () => Promise<void>): Promise<Running> {
    const launched = performance.now();
    const child = this.#options.launch();
    this.#starting = child;
    const last: string[] = [];
    for (const stream of [child.stdout, child.stderr]) {
      const splitter = new LineSplitter();
      const take = (line: string): void => {
        last.push(line);
        if (last.length > KEPT_LINES) last.shift();
        this.#options.onLine(line);
      };
      stream?.on('data', (chunk: Buffer) => splitter.push(chunk).forEach(take));
      stream?.on('end', () => splitter.end().forEach(take));
    }
    const closed = once(child, 'close').catch(() => {}); // Never started: `ended` tells.
    const ended = once(child, 'exit').then(
      ([code, signal]) => (signal === null ? `exited with code ${code}` : `was ended by ${signal}`),
      (error: unknown) => `could not be started: ${(error as Error).message}`,
    );
    const waiting = new AbortController();
    try {
      await Promise.race([
        this.#options.ready(child, waiting.signal, takeOver),
        ended.then((how) => {
          throw new FnError('internal', `the ${this.name} ${how}`);
        }),
        sleep(READY_WITHIN, waiting.signal).then(() => {
          throw new FnError('internal', `the ${this.name} was not ready within ${READY_WITHIN / 1000} s`);
        }),
      ]);
    } catch (error) {
      child.kill('SIGKILL');
      await ended;
      await Promise.race([closed, sleep(LAST_WORDS_WITHIN)]);
      const { code, message, options } = toFnError(error);
      throw new FnError(code, message, { ...options, ...(last.length > 0 && { logs: last }) });
    } finally {
      waiting.abort();
      this.#starting = undefined;
    }
    this.#options.onReady(performance.now() - launched);
    return { child, ended, readyAt: performance.now() };
  }
}

/** How one that knows no other way hands over. */
async function gone(child: ChildProcess, signal: AbortSignal): Promise<void> {
  child.kill('SIGTERM');
  await once(child, 'exit', { signal });
}
