import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import { describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { lacks, skipBecause } from '../support/requires.ts';
import { startPlatform } from './support/platform.ts';

const run = promisify(execFile);

/** Its modes, each with 400 connections for five seconds, a piece a second. */
const MODES = {
  'slow heads (Slowloris)': ['-H', '-t', 'GET'],
  'slow bodies (R-U-Dead-Yet)': ['-B', '-s', '8192'],
  'range requests (Apache killer)': ['-R', '-a', '5', '-b', '2000'],
  'slow readers': ['-X', '-w', '1', '-y', '16', '-z', '5', '-n', '1', '-k', '3'],
} as const;

describe.skipIf(skipBecause(lacks('slowhttptest')))('slowhttptest', () => {
  it.each(Object.entries(MODES))(
    'with %s takes no service from others',
    async (_name, mode) => {
      await using platform = await startPlatform();
      const page = Buffer.alloc(200_000);
      await platform.run({ name: 'large', concurrency: 1000 }, (incoming, response) => {
        incoming
          .on('error', () => {})
          .on('end', () => response.end(page))
          .resume();
      });
      await platform.run({ name: 'others', concurrency: 10 }, (_incoming, response) => response.end('fine'));

      const over = new AbortController();
      const attack = run(
        'slowhttptest',
        [...mode, '-c', '400', '-r', '200', '-i', '1', '-l', '5', '-p', '15', '-u', `${platform.url}/function/large`],
        { timeout: 40_000, maxBuffer: 2 ** 24 },
      ).finally(() => over.abort());
      const agent = new Agent({ pipelining: 0 }); // A connection for each request, as a newcomer.
      let served = 0;
      while (!over.signal.aborted) {
        const reply = await request(`${platform.url}/function/others`, { dispatcher: agent });
        expect([reply.statusCode, await reply.body.text()]).toEqual([200, 'fine']);
        served++;
      }
      await agent.destroy();
      const { stdout } = await attack;
      // eslint-disable-next-line no-control-regex
      const report = stdout.replace(/\x1b\[[\d;]*m/g, '');
      expect(report.match(/service available:\s+(\w+)/g)?.at(-1)).toMatch(/YES$/);
      // How many says more about the machine: the attack, the gateway and the functions share it.
      expect(served).toBeGreaterThan(2);
      await eventually(() => expect(platform.gateway.facts()).toMatchObject({ connections: 0, inFlight: 0 }), 20_000);
    },
    90_000,
  );
});
