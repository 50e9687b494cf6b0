/** A child process that is kept running: started again whenever it ends, after a back-off that grows while it keeps
 *  failing and never gives up. The first start is different: its failure is the caller's to report.
 *  Children lead a session of their own, so that Ctrl-C in the terminal reaches only us, and we decide the order. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { backoff, sleep } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import { LineSplitter } from '../../core/lines.ts';
import type { Millis } from '../../core/units.ts';

/** One that ran this long starts again at once. */
const HEALTHY_AFTER: Millis = 10_000;
const READY_WITHIN: Millis = 60_000;

export interface ProcessEvents {
  readonly onLine: (line: string) => void;
  readonly onRestart: (how: string, afterMs: Millis) => void;
  readonly onReady: (ms: Millis) => void;
}

export interface KeptProcessOptions extends ProcessEvents {
  readonly name: string;
  readonly launch: () => ChildProcess;
  /** Resolves when the child is ready; rejects when it says that it cannot be. */
  readonly ready: (child: ChildProcess, signal: AbortSignal) => Promise<void>;
}

export class KeptProcess {
  readonly #options: KeptProcessOptions;
  #child: ChildProcess | undefined;
  readonly #ending = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: KeptProcessOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves once it is ready for the first time, rejects when it ends before. */
  async start(): Promise<void> {
    const first = this.#run();
    this.#running = first.then(
      (exited) => this.#keep(exited),
      () => {}, // The caller hears of it.
    );
    await first;
  }

  /** Asks it to end, kills it after the deadline; resolves when it is gone and will not come back. */
  async end(deadline: Millis): Promise<void> {
    this.#ending.abort();
    const killer = setTimeout(() => this.kill('SIGKILL'), deadline);
    this.kill('SIGTERM');
    await this.#running;
    clearTimeout(killer);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Launches and waits for readiness. @returns how it will have ended, one day. */
  async #run(): Promise<{ ended: Promise<string> }> {
    const launched = performance.now();
    const child = this.#options.launch();
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      const splitter = new LineSplitter();
      stream?.on('data', (chunk: Buffer) => splitter.push(chunk).forEach((line) => this.#options.onLine(line)));
      stream?.on('end', () => splitter.end().forEach((line) => this.#options.onLine(line)));
    }
    const ended = once(child, 'exit').then(
      ([code, signal]) => (signal === null ? `exited with code ${code}` : `was ended by ${signal}`),
      (error: unknown) => `could not be started: ${(error as Error).message}`,
    );
    const waiting = new AbortController();
    try {
      await Promise.race([
        this.#options.ready(child, waiting.signal),
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
      throw error;
    } finally {
      waiting.abort();
    }
    this.#options.onReady(performance.now() - launched);
    return { ended };
  }

  async #keep(first: { ended: Promise<string> }): Promise<void> {
    let current = first;
    let failures = 0;
    for (;;) {
      const since = performance.now();
      let how = await current.ended;
      if (performance.now() - since > HEALTHY_AFTER) failures = 0;
      for (;;) {
        if (this.#ending.signal.aborted) return;
        const wait = backoff(failures++, 100, 5000);
        this.#options.onRestart(how, wait);
        await sleep(wait, this.#ending.signal).catch(() => {});
        if (this.#ending.signal.aborted) return;
        try {
          current = await this.#run();
          break;
        } catch (error) {
          how = (error as Error).message;
        }
      }
    }
  }
}
