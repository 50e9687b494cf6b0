/** Counts what Vitest's JSON report holds. A file that could not even be loaded has no tests in it: it counts as one that
 *  failed, or a syntax error would pass. */

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/** @param {unknown} report @param {number} exitCode Vitest's @returns {Counts} */
export function summarize(report, exitCode) {
  const files =
    /** @type {{ testResults?: { status: string, assertionResults: { status: string }[] }[] } | undefined} */ (report)
      ?.testResults;
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { status, assertionResults } of files ?? []) {
    for (const test of assertionResults) {
      if (test.status === 'passed') counts.passed++;
      else if (test.status === 'failed') counts.failed++;
      else counts.skipped++; // skipped, pending, todo, disabled
    }
    if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) counts.failed++;
  }
  // An error outside of any test, or no report at all.
  if (exitCode !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

/** @param {Counts} counts */
export function summaryLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
