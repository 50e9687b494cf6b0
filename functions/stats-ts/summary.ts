/** What there is to say about a list of numbers. */

export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly median: number;
  readonly deviation: number;
}

/** @param numbers at least one. The deviation is that of the whole population. */
export function summarize(numbers: readonly number[]): Summary {
  const sorted = numbers.toSorted((a, b) => a - b);
  const count = sorted.length;
  const mean = sorted.reduce((sum, one) => sum + one, 0) / count;
  const variance = sorted.reduce((sum, one) => sum + (one - mean) ** 2, 0) / count;
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  return {
    count,
    min: at(0),
    max: at(count - 1),
    mean,
    median: (at(Math.floor((count - 1) / 2)) + at(Math.ceil((count - 1) / 2))) / 2,
    deviation: Math.sqrt(variance),
  };
}
