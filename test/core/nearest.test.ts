import { expect, test } from 'vitest';
import { nearest } from '../../core/nearest.ts';

const KNOWN = ['memory', 'timeout', 'name', 'cpu', 'concurrency'];

test.each([
  ['memroy', 'memory'],
  ['Memory', 'memory'],
  ['timout', 'timeout'],
  ['timeoutt', 'timeout'],
  ['concurency', 'concurrency'],
  ['pcu', 'cpu'],
])('%s finds %s', (typed, found) => expect(nearest(typed, KNOWN)).toBe(found));

test.each(['color', 'x', '', 'memorandum', 'm'.repeat(1000)])('%s finds nothing', (typed) =>
  expect(nearest(typed, KNOWN)).toBeUndefined(),
);
