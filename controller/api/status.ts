/** Is the platform whole? Each process writes a heartbeat every second; one that has not for five is down. */

import type { Redis } from 'ioredis';
import type { Context } from '../../core/context.ts';
import { PROCESS_HASH, type ProcessReport } from '../../core/queues.ts';
import type { Millis } from '../../core/units.ts';
import { VERSION } from '../../core/version.ts';
import type { View } from '../view.ts';
import type { Status } from './schemas.ts';

const ALIVE_FOR: Millis = 5000;
/** A process that ended without a word is shown this long. */
const SHOWN_FOR: Millis = 3_600_000;
const ROLES: readonly ProcessReport['role'][] = ['gateway', 'worker', 'controller', 'builder'];

export async function readStatus(redis: Redis, view: View, urls: Omit<Context, 'token'>, now: Millis): Promise<Status> {
  const reports = await redis.hgetall(PROCESS_HASH).catch(() => undefined);
  const processes = latestOf(Object.values(reports ?? {}).map(parseReport))
    .filter((report) => now - report.at < SHOWN_FOR)
    .map(({ at, ...report }) => ({ ...report, healthy: now - at < ALIVE_FOR, seenAt: at }))
    .toSorted((a, b) => ROLES.indexOf(a.role) - ROLES.indexOf(b.role) || a.id.localeCompare(b.id));
  const up = new Set(processes.filter((one) => one.healthy).map((one) => one.role));
  return {
    version: VERSION,
    healthy: reports !== undefined && ROLES.every((role) => up.has(role)) && processes.every((one) => one.healthy),
    gatewayUrl: urls.gatewayUrl,
    apiUrl: urls.apiUrl,
    redis: { healthy: reports !== undefined },
    processes: processes.map(({ facts, ...one }) => ({ ...one, ...(facts && { facts: { ...facts } }) })),
    nodes: view.nodes().map((node) => ({ ...node, healthy: node.expiresAt > now })),
    functions: view.functions().length,
  };
}

/** Without its metrics, which have a page of their own. */
function parseReport(text: string): ProcessReport {
  const { metrics: _, ...report } = JSON.parse(text) as ProcessReport;
  return report;
}

/** A restarted process has a new pid, hence a new id `<role>-<node>-<pid>`: its predecessor is not down, it is replaced. */
function latestOf(reports: readonly ProcessReport[]): ProcessReport[] {
  const latest = new Map<string, ProcessReport>();
  for (const report of reports) {
    const place = report.id.replace(/-\d+$/, '');
    const held = latest.get(place);
    const both = held && Math.abs(held.at - report.at) < ALIVE_FOR; // Several gateways of one node live side by side.
    if (both) latest.set(report.id, report);
    else if (!held || held.at < report.at) latest.set(place, report);
  }
  return [...latest.values()];
}
