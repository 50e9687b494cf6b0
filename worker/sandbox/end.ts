/** How a sandbox ended, from the two that can tell: the exit status of its init, and the line in which the init says how its
 *  own child ended. */

import { constants } from 'node:os';
import type { ExitStatus } from '../native.ts';
import type { InitReport } from './log-pipe.ts';

/** The init exits with its child's code, or with 128 + its signal: only its line tells these apart. A function can forge the
 *  line, so the status goes first: what contradicts it is not believed. */
export function endOf(status: ExitStatus | 'running' | 'unknown', report: InitReport | undefined): InitReport {
  if (typeof status === 'string') return report ?? {};
  if (status.signal !== undefined) return { signal: nameOf(status.signal) };
  const bySignal = report?.signal !== undefined && signalNumber(report.signal) === (status.exitCode ?? 0) - 128;
  if (bySignal) return report;
  return status.exitCode === undefined ? {} : { exitCode: status.exitCode };
}

function nameOf(signal: number): string {
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}

function signalNumber(name: string): number | undefined {
  return Object.entries(constants.signals).find(([one]) => one === name)?.[1];
}
