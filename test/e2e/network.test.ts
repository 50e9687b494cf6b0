/** A deployed function with a network reaches neither the machine nor its services. What it may reach is tested with hosts of
 *  our own in test/network. */

import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingTools } from '../../worker/network/commands.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const missing = notRoot() ?? missingTools()?.message;

describe.skipIf(missing !== undefined && skipBecause(missing))('a function with egress: internet', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await startPlatform();
    await platform.deployFiles({
      'fn.yaml': 'name: caller\nnetwork: { egress: internet }',
      'index.js': `const net = require('node:net');
        module.exports = async (request) => {
          const { host, port } = await request.json();
          const said = await new Promise((resolve) => {
            const socket = net.connect({ host, port, timeout: 3000 });
            socket.once('connect', () => resolve('connected'));
            socket.once('timeout', () => resolve('timeout'));
            socket.once('error', (error) => resolve(error.code));
          });
          return new Response(said);
        }`,
    });
  }, 120_000);
  afterAll(() => platform[Symbol.asyncDispose](), 60_000);

  const own = Object.values(networkInterfaces())
    .flat()
    .find((one) => one && !one.internal && one.family === 'IPv4');
  test.each([
    ['its own loopback, where nothing is', '127.0.0.1'],
    ["the machine's address", own?.address ?? '127.0.0.1'],
    ['the address where clouds keep their metadata', '169.254.169.254'],
    ['a private range', '10.0.0.1'],
    ['its own gateway', '198.18.0.1'],
  ])('does not reach %s', async (_, host) => {
    for (const url of [platform.gatewayUrl, platform.api.context.apiUrl]) {
      const body = JSON.stringify({ host, port: Number(new URL(url).port) });
      const reply = await platform.call('/function/caller', { method: 'POST', body });
      expect(await reply.text()).toMatch(/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES)$/);
    }
  });
});
