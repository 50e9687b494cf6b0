import { expect, test } from 'vitest';
import { formatBytes, formatDuration, parseBytes, parseCpu, parseDuration } from '../../core/units.ts';

test.each([
  ['256Mi', 2 ** 28],
  ['1Gi', 2 ** 30],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['500M', 5e8],
  ['4k', 4000],
  ['1KiB', 1024],
  ['1024', 1024],
  [' 1Ki ', 1024],
  [7, 7],
  ['1.0001Ki', 1024],
] as const)('%j is %d bytes', (text, bytes) => expect(parseBytes(text)).toBe(bytes));

test.each(['', 'lots', '-1', '1kb', '1 Gi', '1e3', '1Ti', '0x10', 'NaN', '1,5Gi'])('%j is no size', (text) =>
  expect(parseBytes(text)).toBeUndefined(),
);

test.each([
  ['30s', 30_000],
  ['250ms', 250],
  ['1.5s', 1500],
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['2d', 172_800_000],
  ['0', 0],
  [0, 0],
] as const)('%j is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

test.each(['30', 30, '', 's', '-1s', '1 s', '1min', '1h30m'])(
  '%j is no duration: a number says nothing of its unit',
  (text) => expect(parseDuration(text)).toBeUndefined(),
);

test.each([
  ['500m', 500],
  ['2', 2000],
  ['0.25', 250],
  [1, 1000],
] as const)('%j is %d thousandths of a core', (text, cpu) => expect(parseCpu(text)).toBe(cpu));

test.each(['', 'm', '-1', '1 core', '1.2.3'])('%j is no number of cores', (text) =>
  expect(parseCpu(text)).toBeUndefined(),
);

test.each([
  [0, '0B'],
  [1023, '1023B'],
  [1024, '1Ki'],
  [2 ** 28, '256Mi'],
  [1.5 * 2 ** 30, '1.5Gi'],
  [2 ** 20 + 1, '1Mi'],
])('%d bytes are written %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test.each([
  [0, '0ms'],
  [1.26, '1.3ms'],
  [12.6, '13ms'],
  [1500, '1.5s'],
  [60_000, '1m'],
  [90_000, '90s'],
  [3_600_000, '1h'],
  [86_400_000, '1d'],
])('%d ms are written %s', (ms, text) => expect(formatDuration(ms)).toBe(text));
