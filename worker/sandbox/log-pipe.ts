/** The pipe a sandbox writes its log to. A named pipe that the sandbox itself holds open for reading and writing: it never
 *  breaks when the worker dies, and the next worker reads on. Its end tells that no process of the sandbox is left.
 *
 *  A function may write as much as it likes and must not be harmed by it: reading goes on, but above the rate the lines are
 *  counted and dropped, and a mark says how many. */

import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { LOG_MARK } from '../../core/control.ts';
import { LOG_LINE_LIMIT } from '../../core/logs.ts';
import type { Bytes, Millis } from '../../core/units.ts';

export interface PipeLine {
  readonly invocation?: string;
  readonly text: string;
}

export interface LogPipeOptions {
  readonly onLines: (lines: readonly PipeLine[]) => void;
  readonly onDropped: (bytes: Bytes) => void;
  /** Every process that held the pipe is gone. */
  readonly onEnd: () => void;
}

/** What may be kept at once, and per second in the long run. */
export const BURST: Bytes = 2 ** 20;
export const RATE: Bytes = 256 * 1024;
/** A mark tells what was dropped in so much time. */
const MARK_EVERY: Millis = 1000;
/** Above the rate, reading pauses this long after each such amount, so that a flood costs us little. */
const BREATHE_EVERY: Bytes = 4 * 2 ** 20;
const BREATHE_FOR: Millis = 20;

/** What strsignal(3) says, which tini repeats, as names. */
const SIGNALS: Readonly<Record<string, string>> = {
  Aborted: 'SIGABRT',
  'Bus error': 'SIGBUS',
  'CPU time limit exceeded': 'SIGXCPU',
  'File size limit exceeded': 'SIGXFSZ',
  'Floating point exception': 'SIGFPE',
  Hangup: 'SIGHUP',
  'Illegal instruction': 'SIGILL',
  Interrupt: 'SIGINT',
  Killed: 'SIGKILL',
  Quit: 'SIGQUIT',
  'Segmentation fault': 'SIGSEGV',
  Terminated: 'SIGTERM',
  'Trace/breakpoint trap': 'SIGTRAP',
};

/** tini, the init, reports how its child ended. Its lines come all at once when it ends, the first of them behind whatever
 *  the function left without a newline. */
const INIT_MARK = ' tini (1)] ';
const INIT_LINE =
  /^(.*?)\[(?:INFO |WARN |FATAL) tini \(1\)\] ((?:Spawned child process|Main child exited|Waitpid) .*)$/;
const INIT_EXIT = /^Main child exited (?:normally \(with status '(\d+)'\)|with signal \(with signal '(.*)'\))$/;

/** V8's last line when it gives up by itself, at its heap limit or because the kernel gave it no more. A stack as long as it
 *  likes follows, and a flood may come before: so it is looked for here, not in the lines that were kept. */
const OUT_OF_MEMORY = /^(?:FATAL ERROR:|# Fatal) .*(?:out of memory|allocation failed)/i;

export interface InitReport {
  readonly exitCode?: number;
  readonly signal?: string;
}

export class LogPipe implements Disposable {
  readonly #socket: Socket;
  readonly #options: LogPipeOptions;
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';
  #cut = false;
  #allowance: Bytes = BURST;
  #refilledAt = performance.now();
  #dropping = false;
  #dropped: Bytes = 0;
  #mark: NodeJS.Timeout | undefined;
  #sinceBreath: Bytes = 0;
  #initReport: InitReport | undefined;
  #outOfMemory = false;

  /** @param path the named pipe; it must have a writer already, or the end is seen at once. */
  constructor(path: string, options: LogPipeOptions) {
    this.#options = options;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket.on('error', () => {}); // 'close' follows.
    this.#socket.once('close', () => {
      this.#flushRest();
      this.#reportDropped();
      options.onEnd();
    });
  }

  /** How the init said its child ended, once it has. */
  get initReport(): InitReport | undefined {
    return this.#initReport;
  }

  /** V8 said so. A function can write the line too, and so misname its own end. */
  get outOfMemory(): boolean {
    return this.#outOfMemory;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#mark);
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#breathe(chunk.length);
    const pieces = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = pieces.pop() ?? '';
    const lines: PipeLine[] = [];
    for (const piece of pieces) {
      if (this.#cut) this.#cut = false;
      else this.#take(piece, lines);
    }
    if (this.#rest.length > LOG_LINE_LIMIT) {
      if (!this.#cut) this.#take(this.#rest, lines);
      this.#rest = '';
      this.#cut = true; // What follows up to the next newline belongs to the line just cut.
    }
    if (lines.length > 0) this.#options.onLines(lines);
  }

  #take(piece: string, lines: PipeLine[]): void {
    const [, before, report] = (piece.includes(INIT_MARK) && INIT_LINE.exec(piece)) || [];
    if (report !== undefined) {
      this.#takeReport(report);
      if (before) this.#take(before, lines);
      return;
    }
    if (OUT_OF_MEMORY.test(piece)) this.#outOfMemory = true;
    if (!this.#admit(piece.length)) return;
    this.#reportDropped();
    const line = parseLine(piece);
    if (line.text.length > LOG_LINE_LIMIT) {
      const left = line.text.length - LOG_LINE_LIMIT;
      lines.push({
        ...line,
        text: `${line.text.slice(0, LOG_LINE_LIMIT)}… [line cut here, ${left} or more characters left out]`,
      });
    } else {
      lines.push(line);
    }
  }

  #takeReport(report: string): void {
    const end = INIT_EXIT.exec(report);
    if (!end) return;
    const [, code, signal = ''] = end;
    this.#initReport = code === undefined ? { signal: SIGNALS[signal] ?? signal } : { exitCode: Number(code) };
  }

  #admit(size: Bytes): boolean {
    const now = performance.now();
    this.#allowance = Math.min(BURST, this.#allowance + ((now - this.#refilledAt) / 1000) * RATE);
    this.#refilledAt = now;
    // Once it drops it goes on until a quarter of the burst is free again: lines in a row, not one here and there.
    this.#dropping = this.#allowance < Math.max(size, this.#dropping ? BURST / 4 : 0);
    if (this.#dropping) {
      this.#dropped += size;
      this.#mark ??= setTimeout(() => this.#reportDropped(), MARK_EVERY);
      return false;
    }
    this.#allowance -= size;
    return true;
  }

  #reportDropped(): void {
    clearTimeout(this.#mark);
    this.#mark = undefined;
    if (this.#dropped === 0) return;
    this.#options.onDropped(this.#dropped);
    this.#dropped = 0;
  }

  #breathe(size: Bytes): void {
    if (this.#allowance > BURST / 2) {
      this.#sinceBreath = 0;
      return;
    }
    this.#sinceBreath += size;
    if (this.#sinceBreath < BREATHE_EVERY) return;
    this.#sinceBreath = 0;
    this.#socket.pause();
    setTimeout(() => this.#socket.resume(), BREATHE_FOR);
  }

  #flushRest(): void {
    const lines: PipeLine[] = [];
    if (this.#rest !== '' && !this.#cut) this.#take(this.#rest, lines);
    this.#rest = '';
    if (lines.length > 0) this.#options.onLines(lines);
  }
}

/** `\x1e<id> text` → the invocation and the text. The id is checked: a function can write the mark itself. */
export function parseLine(piece: string): PipeLine {
  if (!piece.startsWith(LOG_MARK)) return { text: piece };
  const space = piece.indexOf(' ');
  const id = piece.slice(1, space);
  return /^[\w.:/+=@-]{1,128}$/.test(id) ? { invocation: id, text: piece.slice(space + 1) } : { text: piece.slice(1) };
}
