import { expect, test } from 'vitest';
import { LineSplitter, linesIn } from '../../core/lines.ts';

test('lines come out whole, however they were cut, also inside a character', () => {
  const splitter = new LineSplitter();
  const bytes = Buffer.from('eins\nzwölf\r\n\nrest');
  expect([...bytes].flatMap((byte) => splitter.push(Buffer.from([byte])))).toEqual(['eins', 'zwölf\r', '']);
  expect(splitter.pending).toBe(4);
  expect(splitter.end()).toEqual(['rest']);
  expect(splitter.end()).toEqual([]);
});

test('nothing but LF ends a line', () => {
  const text = 'a\u2028b\u2029c\u0085d\re\vf';
  expect(new LineSplitter().push(Buffer.from(`${text}\n`))).toEqual([text]);
});

test('what follows the last LF of a file is left out', async () => {
  const read = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from('a\nb');
    yield Buffer.from('\nc');
  };
  const lines: string[] = [];
  for await (const line of linesIn(read())) lines.push(line);
  expect(lines).toEqual(['a', 'b']);
});
