/** Reads what must not be seen: what is piped in, or a line typed without echo. Never an argument: those are in the shell's
 *  history and in the list of processes. */

import { FnError } from '../core/errors.ts';

/** One line break at the end is not part of it: `echo` adds one.
 *  @param limit bytes. */
export async function readHidden(prompt: string, limit: number): Promise<Buffer> {
  const value = process.stdin.isTTY ? Buffer.from(await typed(prompt)) : await piped(limit);
  if (value.length > limit) throw new FnError('usage.invalid', `the value has more than ${limit} bytes`);
  if (value.length === 0) throw new FnError('usage.invalid', 'the value is empty');
  return value;
}

async function piped(limit: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    pieces.push(piece);
    size += piece.length;
    if (size > limit + 2) break; // Too much anyway.
  }
  const all = Buffer.concat(pieces);
  const end = all.at(-1) === 10 ? (all.at(-2) === 13 ? 2 : 1) : 0;
  return all.subarray(0, all.length - end);
}

function typed(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(prompt);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  return new Promise((resolve, reject) => {
    let line = '';
    const finish = (settle: () => void): void => {
      stdin.setRawMode(false);
      stdin.off('data', onData);
      stdin.pause();
      stderr.write('\n');
      settle();
    };
    const onData = (text: string): void => {
      for (const key of text) {
        if (key === '\r' || key === '\n') return finish(() => resolve(line));
        if (key === '\u0003' || key === '\u0004') {
          return finish(() => reject(new FnError('usage.invalid', 'nothing was set')));
        }
        line = key === '\u007f' || key === '\b' ? line.slice(0, -1) : line + key;
      }
    };
    stdin.on('data', onData);
  });
}
