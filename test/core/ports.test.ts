import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { SOCKET_NAMES } from '../../core/inherited.ts';
import { openPort } from '../../core/ports.ts';
import { closeFd, type ListeningPort } from '../../core/sockets.ts';
import { rejectionOf } from '../support/thrown.ts';

const open = (host: string, port: number): Promise<readonly ListeningPort[]> =>
  openPort({ socket: SOCKET_NAMES.api, host, port, env: { host: 'FN_API_HOST', port: 'FN_API_PORT' } });

test('a free port is itself, and 0 is one the kernel chose', async () => {
  const [first] = await open('127.0.0.1', 0);
  expect(first?.port).toBeGreaterThan(0);
  closeFd(first!.fd);
  const [second] = await open('127.0.0.1', first!.port);
  expect(second?.port).toBe(first?.port);
  closeFd(second!.fd);
});

test('a taken port names who holds it and the setting to change', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const error = await rejectionOf(open('127.0.0.1', port));
  server.close();
  expect(error.code).toBe('port.in_use');
  expect(error.message).toContain(`127.0.0.1:${port} is taken by node`);
  expect(error.message).toContain(`(pid ${process.pid})`);
  expect(error.hint).toContain('FN_API_PORT=');
});

test('an address that is not of this machine is said to be so', async () => {
  const error = await rejectionOf(open('203.0.113.1', 0));
  expect(error.code).toBe('usage.invalid');
  expect(error.message).toContain('FN_API_HOST: cannot listen on 203.0.113.1:0');
});
