/** "Did you mean": the known word closest to a mistyped one, or none when nothing is close. */

/** Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours count one each. */
function distance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j] ?? 0, (beforePrevious[j - 2] ?? 0) + 1);
      }
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}

/** At most a third of the word may differ, and at least one letter: `memroy` finds `memory`, `color` finds nothing. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  const typed = word.toLowerCase();
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    const found = distance(typed, candidate.toLowerCase());
    if (found <= Math.max(1, Math.floor(word.length / 3)) && found < (best?.distance ?? Infinity)) {
      best = { word: candidate, distance: found };
    }
  }
  return best?.word;
}
