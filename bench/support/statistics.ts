/** The few numbers a benchmark reduces its samples to. Percentiles are nearest-rank: always a value that was measured. */

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Medians of several rounds' figures and not the figure of all samples together: one noisy round then changes nothing. */
export function medianOfRounds(rounds: readonly (readonly number[])[], share: number): number {
  return median(rounds.map((round) => percentile(round, share)));
}
