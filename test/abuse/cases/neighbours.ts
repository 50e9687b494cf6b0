/** A44–A47, A62: what of the platform and of other functions on the same machine can be found or reached, with the real
 *  addresses of this platform. Nothing is sent: the sandbox has no network to send with. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import type { PlayedCase } from './case.ts';

const REFUSED = expect.stringMatching(/^(ECONNREFUSED|ENETUNREACH|EINVAL)$/);
const NAMESPACE = 'a network namespace of its own';

export const NEIGHBOUR_CASES: readonly PlayedCase[] = [
  {
    id: 'A44',
    tried: 'searches every file, environment and socket name for what another function holds',
    result: 'not found',
    heldBy: 'mount, pid, ipc, network and user namespace; no /sys; masked /proc/keys',
    async play({ prober, neighbour }) {
      await neighbour.probe('bombs/leave', { name: 'canary-of-neighbour' });
      expect(await neighbour.probe('visibility/search', { text: 'canary-of-neighbour' })).toEqual([
        '/tmp/canary-of-neighbour',
        'env',
      ]);
      expect(await prober.probe('visibility/search', { text: 'canary-of-neighbour' })).toEqual([]);
    },
  },
  {
    id: 'A22',
    tried: 'uses up its share of pipe pages while another function makes pipes',
    result: 'the other makes as many as ever',
    heldBy: 'a uid range for each sandbox',
    async play({ prober, neighbour }) {
      const [mine, others] = await Promise.all([prober, neighbour].map((one) => one.probe('limits/pipePages')));
      expect(mine).toEqual(others);
    },
  },
  {
    id: 'A21',
    tried: 'has ten instances at once open all the inotify instances they get',
    result: '16 each, and the host’s root still has its own',
    heldBy: 'limits of the user namespace; the machine’s limit is raised to what all sandboxes may have',
    async play({ platform, deploy }) {
      const many = await deploy('many', 'memory: 128Mi\nscale: { min: 10, max: 10 }\ntimeout: 30s');
      await eventually(async () => expect(await platform.instances('many')).toHaveLength(10), 30_000);
      const calls = Array.from({ length: 10 }, () => many.probe('limits/keepInotify', { ms: 1000 }));
      expect(await Promise.all(calls)).toEqual(calls.map(() => 16));
      watch('/').close();
      await platform.api.call('/v1/functions/many?wait=true', { method: 'DELETE' });
    },
  },
  {
    id: 'A45',
    tried: 'connects to an abstract unix socket of the host',
    result: 'ECONNREFUSED',
    heldBy: NAMESPACE,
    async play({ prober }) {
      const name = `fn-abuse-${randomBytes(6).toString('hex')}`;
      const server = createServer().listen(`\0${name}`);
      await once(server, 'listening');
      try {
        expect(await prober.probe('visibility/abstractSocket', { name })).toBe('ECONNREFUSED');
      } finally {
        server.close();
      }
    },
  },
  {
    id: 'A46',
    tried: 'connects to the sockets of Redis, the worker and the gateway by their paths',
    result: 'ENOENT',
    heldBy: 'the root is the image',
    async play({ platform, prober }) {
      const { redisSocket, run } = platform.config.paths;
      for (const path of [redisSocket, `${run}/worker.sock`, `${run}/gateway.sock`]) {
        expect(await prober.probe('visibility/pathSocket', { path })).toBe('ENOENT');
      }
    },
  },
  {
    id: 'A47',
    tried: 'connects to the gateway and the control API at every address of the host',
    result: 'ECONNREFUSED, ENETUNREACH',
    heldBy: NAMESPACE,
    async play({ platform, prober }) {
      const ports = [platform.gatewayUrl, platform.api.context.apiUrl].map((url) => new URL(url).port);
      const addresses = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? []);
      for (const host of ['127.0.0.1', '::1', '0.0.0.0', ...addresses]) {
        for (const port of ports) expect(await prober.probe('visibility/tcp', { host, port })).toEqual(REFUSED);
      }
    },
  },
  {
    id: 'A62',
    tried: 'calls itself through the gateway',
    result: 'ECONNREFUSED',
    heldBy: NAMESPACE,
    async play({ platform, prober }) {
      const url = new URL(`/function/${prober.name}/visibility/processes`, platform.gatewayUrl).href;
      expect(await prober.probe('visibility/fetchUrl', { url })).toEqual(REFUSED);
    },
  },
];
