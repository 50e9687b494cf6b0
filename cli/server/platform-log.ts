/** Keeps what a process of the platform writes: FN_HOME/logs/platform/<name>.log and the one before it, 5 MiB each. */

import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Bytes } from '../../core/units.ts';

const FILE_LIMIT: Bytes = 5 * 2 ** 20;
const KEPT_LINES = 20;

export class PlatformLog {
  readonly #file: string;
  #size: Bytes;
  readonly #last: string[] = [];

  constructor(logs: string, name: string) {
    const directory = join(logs, 'platform');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#file = join(directory, `${name}.log`);
    this.#size = statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Synchronous: the last line before a crash is the one that matters, and there are few. */
  write(line: string): void {
    this.#last.push(line);
    if (this.#last.length > KEPT_LINES) this.#last.shift();
    try {
      if (this.#size > FILE_LIMIT) {
        renameSync(this.#file, `${this.#file}.1`);
        this.#size = 0;
      }
      appendFileSync(this.#file, `${line}\n`, { mode: 0o600 });
      this.#size += Buffer.byteLength(line) + 1;
    } catch {
      // A full disk must not end the supervisor; the line is still in `last`.
    }
  }

  get last(): readonly string[] {
    return this.#last;
  }
}
