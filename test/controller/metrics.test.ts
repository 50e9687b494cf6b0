import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { joinTexts } from '../../controller/api/metrics.ts';
import { PROCESS_HASH } from '../../core/queues.ts';
import { lintMetrics } from '../support/promtool.ts';
import { startPlatform } from './platform.ts';

const text = (name: string, value: string): string =>
  `# HELP ${name} What it counts\n# TYPE ${name} counter\n${name}${value}\n`;

describe('metrics of several processes', () => {
  it('become one text, each described once and with all its samples together', () => {
    const joined = joinTexts([
      text('fn_first_total', '{p="1"} 1') + text('fn_second_total', ' 2'),
      '',
      text('fn_first_total', '{p="2"} 3'),
    ]);
    expect(joined.match(/# HELP fn_first_total/g)).toHaveLength(1);
    expect(joined).toContain('fn_first_total{p="1"} 1\nfn_first_total{p="2"} 3\n');
    expect(lintMetrics(joined)).toBe('');
  });

  it('are all at /metrics of the API; a process that is silent is left out', async () => {
    await using platform = await startPlatform();
    const { config } = platform.redis;
    const read = async (): Promise<string> => (await platform.fetch('/metrics')).text();
    expect(lintMetrics(await read())).toBe('');
    await mkdir(config.paths.run, { recursive: true });
    const gateway = createServer((_request, response) => response.end(text('fn_gateway_total', ' 1')));
    await new Promise<void>((resolve) => gateway.listen(config.paths.gatewaySocket, resolve));
    try {
      const beat = (role: string, node: string, at: number): Promise<number> => {
        const id = `${role}-${node}-${at}`;
        const metrics = text(`fn_${role}_total`, `{node="${node}"} 1`);
        return platform.context.redis.hset(PROCESS_HASH, id, JSON.stringify({ role, id, at, metrics }));
      };
      await beat('worker', 'n1', Date.now());
      await beat('worker', 'n2', Date.now());
      await beat('builder', 'n1', Date.now() - 60_000);
      const all = await read();
      expect(all).toContain('fn_gateway_total 1');
      expect(all).toContain('fn_worker_total{node="n1"} 1');
      expect(all).not.toContain('n2');
      expect(all).not.toContain('fn_builder_total');
      expect(lintMetrics(all)).toBe('');
    } finally {
      gateway.close();
    }
  });
});
