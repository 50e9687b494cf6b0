/** Logs of functions: one NDJSON file per function, FN_HOME/logs/<name>/current.ndjson, and the previous one beside it.
 *  The worker writes, the API reads; lines outlive their instance. Bounded: at half of FN_LOG_LIMIT the file becomes
 *  `previous.ndjson`, replacing the older. */

import { createReadStream } from 'node:fs';
import { appendFile, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from './clock.ts';
import type { FunctionName } from './ids.ts';
import { linesIn } from './lines.ts';
import type { Bytes, Millis } from './units.ts';

export interface LogLine {
  /** Unix ms at which the worker read the line. */
  readonly at: Millis;
  readonly instance: string;
  readonly revision: string;
  readonly invocation?: string;
  /** Who wrote it. Standard output and error share one pipe, so that their order is kept. */
  readonly from: 'function' | 'platform';
  readonly text: string;
}

/** Longer lines are cut, with a mark. */
export const LOG_LINE_LIMIT: Bytes = 16 * 1024;

interface Lost {
  readonly lines: number;
  readonly code: string | undefined;
}

export class LogFile {
  readonly #directory: string;
  readonly #limit: Bytes;
  #size: Bytes | undefined;
  #pending: string[] = [];
  #writing: Promise<void> | undefined;
  #last: LogLine | undefined;
  #lost: Lost | undefined;

  /** @param limit bytes kept, current and previous file together. */
  constructor(logs: string, name: FunctionName, limit: Bytes) {
    this.#directory = join(logs, name);
    this.#limit = limit;
  }

  append(lines: readonly LogLine[]): void {
    for (const line of lines) this.#pending.push(JSON.stringify(line));
    this.#last = lines.at(-1) ?? this.#last;
    this.#writing ??= this.#flush().finally(() => (this.#writing = undefined));
  }

  /** Resolves when all that was appended is in the file. */
  async flushed(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /** Never rejects: what cannot be written, as on a full disk, is lost, and a line says so once writing works again. */
  async #flush(): Promise<void> {
    while (this.#pending.length > 0) {
      const lost = this.#lost;
      const text = `${lost ? this.#mark(lost) : ''}${this.#pending.join('\n')}\n`;
      const count = this.#pending.length;
      this.#pending = [];
      try {
        await this.#write(text);
        this.#lost = undefined;
      } catch (error) {
        this.#lost = { lines: (lost?.lines ?? 0) + count, code: (error as NodeJS.ErrnoException).code };
      }
    }
  }

  /** On a line of its own: what was written before may end within one. */
  #mark({ lines, code }: Lost): string {
    const text = `[${lines} lines could not be written${code === undefined ? '' : ` (${code})`}]`;
    return this.#last ? `\n${JSON.stringify(platformLine(this.#last, text))}\n` : '\n';
  }

  async #write(text: string): Promise<void> {
    const current = join(this.#directory, 'current.ndjson');
    if (this.#size === undefined) {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      this.#size = await stat(current).then(
        (file) => file.size,
        () => 0,
      );
    }
    await appendFile(current, text, { mode: 0o600 });
    this.#size += Buffer.byteLength(text);
    if (this.#size > this.#limit / 2) {
      await rename(current, join(this.#directory, 'previous.ndjson'));
      this.#size = 0;
    }
  }
}

function platformLine({ at, instance, revision }: LogLine, text: string): LogLine {
  return { at, instance, revision, from: 'platform', text };
}

export interface LogQuery {
  /** Unix ms. */
  readonly since?: Millis;
  readonly instance?: string;
  readonly invocation?: string;
  /** Only the last n of what matches (before following). */
  readonly tail?: number;
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

export async function removeLogs(logs: string, name: FunctionName): Promise<void> {
  await rm(join(logs, name), { recursive: true, force: true });
}

/** Lines in order, oldest first; with `follow` it goes on until the signal aborts. */
export async function* readLogs(logs: string, name: FunctionName, query: LogQuery = {}): AsyncGenerator<LogLine> {
  const current = join(logs, name, 'current.ndjson');
  const matches = (line: LogLine): boolean =>
    (query.since === undefined || line.at >= query.since) &&
    (query.instance === undefined || line.instance === query.instance) &&
    (query.invocation === undefined || line.invocation === query.invocation);

  let position = await sizeOf(current);
  const kept: LogLine[] = [];
  for (const [file, end] of [
    [join(logs, name, 'previous.ndjson'), undefined],
    [current, position],
  ] as const) {
    for await (const line of linesOf(file, 0, end)) {
      if (!matches(line)) continue;
      if (query.tail === undefined) yield line;
      else if (kept.push(line) > query.tail) kept.shift();
    }
  }
  yield* kept;

  while (query.follow && !query.signal?.aborted) {
    await sleep(150, query.signal).catch(() => {});
    const size = await sizeOf(current);
    if (size < position) position = 0; // It was rotated.
    if (size === position) continue;
    for await (const line of linesOf(current, position, size)) if (matches(line)) yield line;
    position = size;
  }
}

function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    (found) => found.size,
    () => 0,
  );
}

/** Whole lines are appended at once, so a byte range that ends at a size seen by stat ends at a line. */
async function* linesOf(file: string, start: number, end: number | undefined): AsyncGenerator<LogLine> {
  if ((await sizeOf(file)) <= start) return;
  const input = createReadStream(file, { start, ...(end !== undefined && { end: Math.max(start, end - 1) }) });
  for await (const text of linesIn(input)) {
    try {
      yield JSON.parse(text) as LogLine;
    } catch {
      // A line cut short by a crash or a full disk: nothing to show of it.
    }
  }
}
