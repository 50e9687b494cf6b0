/** The metrics of this node's processes as one text: the controller's own, the gateway's, asked for over its socket, and what
 *  the others sent with their last heartbeat. A process that does not answer is left out, as it would be if Prometheus
 *  scraped it by itself. Each metric is fed by processes of one role, so no sample can come twice; metrics that several roles
 *  feed carry the role in a label. */

import type { Redis } from 'ioredis';
import type { Config } from '../../core/config.ts';
import type { Metrics } from '../../core/metrics.ts';
import { PROCESS_HASH, type ProcessReport } from '../../core/queues.ts';
import type { Millis } from '../../core/units.ts';
import { readFromGateway } from '../gateway-view.ts';

const FRESH_FOR: Millis = 5000;
const GATEWAY_WITHIN: Millis = 5000;

export async function platformMetrics(
  { config, metrics, redis }: { config: Config; metrics: Metrics; redis: Redis },
  now: Millis,
): Promise<string> {
  const [own, gateway, reports] = await Promise.all([
    metrics.text(),
    readFromGateway(config.paths.gatewaySocket, '/_fn/metrics', GATEWAY_WITHIN),
    redis.hgetall(PROCESS_HASH).catch(() => ({})), // Redis is away: what can be had is better than nothing.
  ]);
  const others = Object.values(reports)
    .map((text) => JSON.parse(text) as ProcessReport)
    .filter(({ id, at, role }) => now - at < FRESH_FOR && id.startsWith(`${role}-${config.node}-`))
    .flatMap((report) => report.metrics ?? []);
  return joinTexts([gateway ?? '', ...others, own]);
}

/** Prometheus text may name a metric's help and type once, before all of its samples. */
export function joinTexts(texts: readonly string[]): string {
  const families = new Map<string, { readonly head: string[]; readonly samples: string[] }>();
  for (const text of texts) {
    let family: { readonly head: string[]; readonly samples: string[] } | undefined;
    let mayHead = false;
    for (const line of text.split('\n')) {
      const [, name] = /^# (?:HELP|TYPE) (\S+)/.exec(line) ?? [];
      if (name !== undefined) {
        mayHead = !families.has(name) || (mayHead && families.get(name) === family);
        family = families.get(name);
        if (!family) families.set(name, (family = { head: [], samples: [] }));
        if (mayHead) family.head.push(line);
      } else if (line !== '') family?.samples.push(line);
    }
  }
  return [...families.values()].map(({ head, samples }) => `${[...head, ...samples].join('\n')}\n`).join('\n');
}
