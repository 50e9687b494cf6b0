import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { GatewaySetup } from '../../bench/warm/gateway.ts';
import { NODE_FLAGS } from '../../core/service.ts';
import { http2Client, replyOf } from './support/http2.ts';

/** Bytes each way; FN_GIGABYTES=2 for the whole of the promise. */
const SIZE = Number(process.env['FN_GIGABYTES'] ?? 0.5) * 2 ** 30;
/** What the gateway may grow by meanwhile. */
const GROWTH_MAX = 64 * 2 ** 20;
/** What node:http2 reads into is left to the collector, which comes after 64 MiB of it. */
const GROWTH_MAX_HTTP2 = 112 * 2 ** 20;

/** A gateway in a process of its own, so that its memory is only its own, in front of the socket. */
async function gatewayProcess(home: string, socket: string) {
  const program = resolve(import.meta.dirname, '../../bench/warm/gateway.ts');
  const setup: GatewaySetup = { home, socket, functions: 1 };
  const child = spawn(process.execPath, [...NODE_FLAGS, program, JSON.stringify(setup)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ready = once(child.stdout, 'data') as Promise<[Buffer]>;
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the gateway ended with ${code}`)));
  const [line] = await Promise.race([ready, ended]);
  ended.catch(() => {}); // From here on it ends because it is told to.
  return {
    port: Number(line.toString()),
    async rss(): Promise<number> {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
    },
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}

/** Reads the head of a request on a raw socket, then hands the socket over. */
function onRequest(socket: Socket, then: (head: string, rest: Buffer) => void): void {
  let head = Buffer.alloc(0);
  const look = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    socket.off('data', look);
    then(head.toString('latin1', 0, end), head.subarray(end + 4));
  };
  socket.on('data', look);
}

function write(socket: Writable, size: number): void {
  const piece = Buffer.alloc(256 * 1024, 'z');
  let left = size;
  const pump = (): void => {
    while (left > 0) {
      const take = Math.min(left, piece.length);
      left -= take;
      if (!socket.write(take === piece.length ? piece : piece.subarray(0, take)) && left > 0) {
        socket.once('drain', pump);
        return;
      }
    }
  };
  pump();
}

/** Takes SIZE bytes, or gives as many. */
function bigFunction(socket: string): Server {
  return createServer((connection) => {
    onRequest(connection, (head, rest) => {
      if (head.startsWith('GET')) {
        connection.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${SIZE}\r\n\r\n`);
        write(connection, SIZE);
        return;
      }
      let received = rest.length;
      connection.on('data', (chunk: Buffer) => {
        received += chunk.length;
        if (received === SIZE) connection.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
  }).listen(socket);
}

async function overHttp1(port: number): Promise<void> {
  const down = connect(port, '127.0.0.1');
  let received = 0;
  down.on('data', (chunk: Buffer) => void (received += chunk.length));
  down.write('GET /function/bench HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  await once(down, 'close');
  expect(received).toBeGreaterThan(SIZE);

  const up = connect(port, '127.0.0.1');
  let reply = '';
  up.on('data', (chunk: Buffer) => void (reply += chunk.toString()));
  up.write(`POST /function/bench HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${SIZE}\r\n\r\n`);
  write(up, SIZE);
  await once(up, 'close');
  expect(reply).toMatch(/^HTTP\/1\.1 200 OK[^]*ok$/);
}

async function overHttp2(port: number): Promise<void> {
  await using client = await http2Client(`http://127.0.0.1:${port}`);
  const down = client.open({ ':path': '/function/bench' });
  let received = 0;
  down.on('data', (chunk: Buffer) => void (received += chunk.length));
  await once(down, 'close');
  expect(received).toBe(SIZE);

  const up = client.open({ ':path': '/function/bench', ':method': 'POST', 'content-length': String(SIZE) });
  const reply = replyOf(up);
  write(up, SIZE);
  expect((await reply).body.toString()).toBe('ok');
}

describe('gigabytes', () => {
  it.each<readonly [string, (port: number) => Promise<void>, number]>([
    ['HTTP/1.1', overHttp1, GROWTH_MAX],
    ['HTTP/2', overHttp2, GROWTH_MAX_HTTP2],
  ])(
    `pass up and down in constant memory over %s (${SIZE / 2 ** 20} MiB each way)`,
    async (_name, transfer, growthMax) => {
      const home = await mkdtemp(join(tmpdir(), 'fnb-'));
      const socket = join(home, 'f.sock');
      const server = bigFunction(socket);
      try {
        await using gateway = await gatewayProcess(home, socket);
        const before = await gateway.rss();
        let peak = before;
        const watch = setInterval(() => {
          gateway.rss().then(
            (rss) => void (peak = Math.max(peak, rss)),
            () => {}, // It has ended.
          );
        }, 50);
        await transfer(gateway.port);
        clearInterval(watch);
        process.stderr.write(`gateway grew by ${((peak - before) / 2 ** 20).toFixed(1)} MiB\n`);
        expect(peak - before).toBeLessThan(growthMax);
      } finally {
        server.close();
        await rm(home, { recursive: true, force: true });
      }
    },
    300_000,
  );
});
