/** Lines end at LF and nowhere else. node:readline also ends them at U+2028 and U+2029, which JSON leaves as they are: a
 *  function that writes one into its log or an error would cut our records in two, and could write the second half. */

import { StringDecoder } from 'node:string_decoder';

export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';

  /** Characters of the line that is not complete yet. */
  get pending(): number {
    return this.#rest.length;
  }

  /** The lines that the chunk completes. */
  push(chunk: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines;
  }

  /** What was left without an LF. */
  end(): string[] {
    const rest = this.#rest + this.#decoder.end();
    this.#rest = '';
    return rest === '' ? [] : [rest];
  }
}

/** What follows the last LF is not a line. */
export async function* linesIn(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const splitter = new LineSplitter();
  for await (const chunk of chunks) yield* splitter.push(chunk);
}
