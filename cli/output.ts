/** What verbs print: lines and tables for people, JSON for programs. Colours only where the terminal shows them. */

import { styleText } from 'node:util';

type Colour = 'red' | 'green' | 'yellow' | 'cyan';

const coloured = (process.stderr.isTTY || process.stdout.isTTY) && !process.env['NO_COLOR'];

export function paint(colour: Colour, text: string): string {
  return coloured ? styleText(colour, text, { validateStream: false }) : text;
}

export function dim(text: string): string {
  return coloured ? styleText('dim', text, { validateStream: false }) : text;
}

export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, undefined, process.stdout.isTTY ? 2 : 0));
}

/** Columns under their headings, as wide as their longest cell. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [dim(line(headings)), ...rows.map(line)].join('\n');
}

/** `12s`, `5m`, `3h`, `2d`: how long ago, roughly. */
export function age(at: number, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (seconds >= size) return `${Math.floor(seconds / size)}${unit}`;
  }
  return `${seconds}s`;
}
