/** What Prometheus' own linter says of a text of metrics; empty when it is content. */

import { spawnSync } from 'node:child_process';

export function lintMetrics(text: string): string {
  const { status, stdout, stderr, error } = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
    timeout: 20_000,
  });
  if (error) throw error;
  return status === 0 ? '' : `${stdout}${stderr}` || `promtool ended with ${status}`;
}
