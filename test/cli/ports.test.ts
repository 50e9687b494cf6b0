import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { requireFreePort } from '../../cli/server/ports.ts';
import { rejectionOf } from '../support/thrown.ts';

test('a free port is itself, and 0 is one the kernel chose', async () => {
  const port = await requireFreePort('127.0.0.1', 0, 'FN_API_PORT');
  expect(port).toBeGreaterThan(0);
  expect(await requireFreePort('127.0.0.1', port, 'FN_API_PORT')).toBe(port);
});

test('a taken port names who holds it and the setting to change', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const error = await rejectionOf(requireFreePort('127.0.0.1', port, 'FN_GATEWAY_PORT'));
  server.close();
  expect(error.code).toBe('port.in_use');
  expect(error.message).toContain(`127.0.0.1:${port} is taken by`);
  expect(error.message).toContain(`(pid ${process.pid})`);
  expect(error.hint).toContain('FN_GATEWAY_PORT=');
});

test('an address that is not of this machine is said to be so', async () => {
  const error = await rejectionOf(requireFreePort('203.0.113.1', 0, 'FN_GATEWAY_PORT'));
  expect(error.code).toBe('usage.invalid');
  expect(error.message).toContain('cannot listen on 203.0.113.1:0');
});
