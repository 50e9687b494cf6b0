import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { FunctionSpecInput } from '../../core/spec.ts';
import { eventually } from '../support/eventually.ts';
import { type Platform, startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

const UPGRADE =
  'GET /function/ws/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';

/** A function that upgrades and then sends back whatever it gets. */
async function echoing(platform: Platform, timeout = '30s', policies: Partial<FunctionSpecInput> = {}) {
  const revision = await platform.deploy({ name: 'ws', timeout, scale: { max: 1 }, ...policies });
  const upgraded: Socket[] = [];
  const server = createServer();
  server.on('upgrade', (request, socket: Socket, rest: Buffer) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    if (rest.length > 0) socket.write(rest);
    socket.pipe(socket);
    upgraded.push(socket);
  });
  const instance = await platform.serveRaw('ws', (socket) => void server.emit('connection', socket));
  await platform.route(instance, revision);
  return { upgraded, instance };
}

describe('a WebSocket', () => {
  it('is passed through, both ways, as long as it lasts', async () => {
    await using platform = await startPlatform();
    const { upgraded } = await echoing(platform);
    await using client = await wire(platform.port);
    client.send(`${UPGRADE}early`);
    const reply = await client.until(/early$/);
    expect(reply).toMatch(
      /^HTTP\/1\.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/,
    );
    expect(reply).toMatch(/\r\nconnection: Upgrade\r\nupgrade: websocket\r\n/);
    client.send('\x81~hi');
    await client.until(/\x81~hi$/);
    expect(platform.gateway.facts()['inFlight']).toBe(1);
    upgraded[0]?.end('bye');
    expect(await client.end()).toMatch(/bye$/);
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('passes a function that limits its callers, once it is let in', async () => {
    await using platform = await startPlatform();
    await echoing(platform, '30s', { rate: '1/d', bodyLimit: '1Ki' });
    await using client = await wire(platform.port);
    client.send(`${UPGRADE}early`);
    await client.until(/early$/);
    client.send('x'.repeat(2000)); // The limit is one of bodies; what follows an upgrade is none.
    await client.until(/x{2000}$/);
    await using late = await wire(platform.port);
    late.send(UPGRADE);
    expect(await late.until(/rate\.exceeded/)).toMatch(/^HTTP\/1\.1 429 /);
  });

  it('outlives the timeout as long as something is said', async () => {
    await using platform = await startPlatform();
    await echoing(platform, '1s');
    await using client = await wire(platform.port);
    client.send(UPGRADE);
    await client.until(/\r\n\r\n$/);
    for (let n = 0; n < 6; n++) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      client.send(`<${n}>`);
      await client.until(new RegExp(`<${n}>$`));
    }
    await client.end(); // Then nothing is said any more.
    expect(client.received()).toContain('<5>');
  });

  it('ends at the instance when the client goes', async () => {
    await using platform = await startPlatform();
    const { upgraded } = await echoing(platform);
    {
      await using client = await wire(platform.port);
      client.send(UPGRADE);
      await client.until(/\r\n\r\n$/);
    }
    await eventually(() => expect(upgraded[0]?.destroyed).toBe(true));
    await eventually(() => expect(platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('holds its slot, and a drain waits for it', async () => {
    await using platform = await startPlatform();
    const { upgraded, instance } = await echoing(platform);
    await using client = await wire(platform.port);
    client.send(UPGRADE);
    await client.until(/\r\n\r\n$/);
    const peer = await platform.peer();
    const unroute = { instance: instance.id, mode: 'if-idle', deadlineMs: 0 } as const;
    expect(await peer.call('unroute', unroute, 1000)).toEqual({ idle: false });
    const drained = peer.call('unroute', { ...unroute, mode: 'drain', deadlineMs: 5000 }, 6000);
    upgraded[0]?.end();
    expect(await drained).toEqual({ idle: true });
  });

  it('that the function refuses is an ordinary reply', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'ws' }, (_request, response) => response.writeHead(426).end('no'));
    await using client = await wire(platform.port);
    client.send(UPGRADE);
    await client.until(/no\r\n0\r\n\r\n$/);
    client.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.until(/"ok"/)).toMatch(/^HTTP\/1\.1 426 /);
  });

  it('carries megabytes with back-pressure', async () => {
    await using platform = await startPlatform();
    await echoing(platform);
    await using client = await wire(platform.port);
    client.send(UPGRADE);
    await client.until(/\r\n\r\n$/);
    const before = client.received().length;
    const piece = Buffer.alloc(100_000, 'y');
    for (let i = 0; i < 50; i++) if (!client.socket.write(piece)) await once(client.socket, 'drain');
    await eventually(() => expect(client.received().length - before).toBe(5_000_000));
  });
});
