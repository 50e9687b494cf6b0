import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { inheritedSockets, passSockets, SOCKET_NAMES } from '../../core/inherited.ts';
import { openUnix } from '../../core/ports.ts';
import { closeFd, duplicateFd, listenTcp, listenUnix } from '../../core/sockets.ts';
import { testDirectory } from '../support/directory.ts';

const HELLO = "import net from 'node:net';net.createServer((s) => s.end(process.argv[1])).listen({ fd: 3 });";

/** What somebody who connects is told. */
async function told(where: { port: number; host?: string } | { path: string }): Promise<string> {
  const socket = connect(where);
  let text = '';
  socket.on('data', (chunk) => (text += String(chunk)));
  await once(socket, 'close');
  return text;
}

async function serve(fd: number, text: string): Promise<Server> {
  const server = createServer((socket) => socket.end(text)).listen({ fd });
  await once(server, 'listening');
  return server;
}

describe('a listening socket', () => {
  it('lets clients wait while nobody accepts, and outlives who did', async () => {
    const { fd, port } = await listenTcp('127.0.0.1', 0);
    const early = told({ port });
    const first = await serve(duplicateFd(fd), 'first');
    expect(await early).toBe('first');
    first.close();
    const between = told({ port });
    const second = await serve(duplicateFd(fd), 'second');
    expect(await between).toBe('second');
    second.close();
    closeFd(fd);
    await expect(once(connect(port), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('may be of IPv6, or a unix socket', async () => {
    const { fd, port } = await listenTcp('::1', 0);
    const six = await serve(fd, 'six');
    expect(await told({ port, host: '::1' })).toBe('six');
    six.close();
    await using directory = await testDirectory();
    const path = join(directory.path, 's');
    const local = await serve(listenUnix(path), 'local');
    expect(await told({ path })).toBe('local');
    local.close();
  });

  it('fails as Node would: taken, not here, too long', async () => {
    const { fd, port } = await listenTcp('127.0.0.1', 0);
    await expect(listenTcp('127.0.0.1', port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await expect(listenTcp('203.0.113.1', 0)).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
    expect(() => listenUnix(`/tmp/${'x'.repeat(120)}`)).toThrow(/ENAMETOOLONG/);
    closeFd(fd);
  });

  it('is inherited by a child, and survives its violent end', async () => {
    const { fd, port } = await listenTcp('127.0.0.1', 0);
    const start = (name: string): ReturnType<typeof spawn> => {
      const { env, stdio } = passSockets([[SOCKET_NAMES.gateway, fd]]);
      expect(env).toEqual({ LISTEN_FDS: '1', LISTEN_FDNAMES: 'gateway' });
      const flags = ['--input-type=module', '-e', HELLO, name];
      return spawn(process.execPath, flags, { env, stdio: ['ignore', 'inherit', 'inherit', ...stdio] });
    };
    const first = start('first');
    expect(await told({ port })).toBe('first');
    first.kill('SIGKILL');
    await once(first, 'exit');
    const waiting = told({ port });
    const second = start('second');
    expect(await waiting).toBe('second');
    second.kill('SIGKILL');
    await once(second, 'exit');
    closeFd(fd);
  });
});

test('a unix socket takes the place of an older one in one step', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 's');
  const [first = -1] = await openUnix(SOCKET_NAMES.gatewayInternal, path, 0);
  const old = await serve(first, 'old');
  const [second = -1] = await openUnix(SOCKET_NAMES.gatewayInternal, path, 0);
  const next = await serve(second, 'next');
  expect(await told({ path })).toBe('next');
  old.close();
  next.close();
});

describe('inherited sockets', () => {
  const env = { LISTEN_FDS: '3', LISTEN_FDNAMES: 'gateway:api:gateway' };

  it('are found by name, from descriptor 3 on', () => {
    expect(inheritedSockets('gateway', env)).toEqual([3, 5]);
    expect(inheritedSockets('api', env)).toEqual([4]);
    expect(inheritedSockets('gateway-internal', env)).toEqual([]);
  });

  it('are for the process that LISTEN_PID names', () => {
    expect(inheritedSockets('api', { ...env, LISTEN_PID: '17' }, 17)).toEqual([4]);
    expect(inheritedSockets('api', { ...env, LISTEN_PID: '17' }, 18)).toEqual([]);
  });

  it('are as many as LISTEN_FDS says', () => {
    expect(inheritedSockets('gateway', { ...env, LISTEN_FDS: '1' })).toEqual([3]);
    expect(inheritedSockets('gateway', { ...env, LISTEN_FDS: 'many' })).toEqual([]);
    expect(inheritedSockets('gateway', {})).toEqual([]);
  });
});
