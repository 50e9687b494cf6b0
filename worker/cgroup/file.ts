/** Cgroup files. The kernel makes their text at each read, so a descriptor is opened once and read from offset 0 again and
 *  again: 1–2 µs, where opening and closing would triple it. Reads never wait for a device, hence no promises. */

import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from 'node:fs';

/** Shared by all reads: each takes what it needs before it returns. The longest file we read, io.stat, has a line a disk. */
const buffer = Buffer.allocUnsafeSlow(65_536);

/** A file that is read often. Opened at the first read. */
export class OpenFile implements Disposable {
  readonly #path: string;
  readonly #flags: string;
  #fd = -1;

  constructor(path: string, flags: 'r' | 'r+' = 'r') {
    this.#path = path;
    this.#flags = flags;
  }

  text(): string {
    this.#open();
    return buffer.toString('latin1', 0, readSync(this.#fd, buffer, 0, buffer.length, 0));
  }

  /** The file's only number. */
  number(): number {
    return Number(this.text());
  }

  write(value: string): void {
    this.#open();
    writeSync(this.#fd, value, 0);
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #open(): void {
    if (this.#fd < 0) this.#fd = openSync(this.#path, this.#flags);
  }
}

/** The number after `key` at the start of a line (`nr_periods 12`); 0 when the line is not there. */
export function field(text: string, key: string): number {
  const start = `\n${text}`.indexOf(`\n${key} `);
  return start < 0 ? 0 : Number.parseInt(text.slice(start + key.length + 1), 10);
}

/** Writes a control file in one write(2), as the kernel wants it; never makes one. */
export function control(path: string, value: string | number): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC);
  try {
    writeSync(fd, String(value));
  } finally {
    closeSync(fd);
  }
}

/** As `control`; false when the file does not exist: the kernel lacks the feature, or the group is gone. */
export function controlIfPresent(path: string, value: string | number): boolean {
  try {
    control(path, value);
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A file that is read rarely; undefined when it, or the group, does not exist. */
export function textIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** ENODEV: the group was removed after the file was opened. */
export function isGone(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENODEV';
}
