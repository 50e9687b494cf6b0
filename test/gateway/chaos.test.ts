import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { eventually } from '../support/eventually.ts';
import { type InstanceServer, type Platform, startPlatform } from './support/platform.ts';
import { type Random, randomSource } from './support/random.ts';

/** Requests; FN_CHAOS=20000 for the long run. */
const REQUESTS = Number(process.env['FN_CHAOS'] ?? 1500);
const SEED = Number(process.env['FN_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
const AT_ONCE = 40;

/** Answers with the request's own id and body, in one of many ways, most of them proper. */
function behave(random: Random, request: IncomingMessage, response: ServerResponse): void {
  const id = String(request.headers['x-id']);
  const chunks: Buffer[] = [];
  request.on('error', () => {});
  request.on('data', (chunk: Buffer) => void chunks.push(chunk));
  const how = random.below(20);
  if (how === 0) {
    request.socket.destroy();
    return;
  }
  if (how === 1) {
    response.writeHead(200, { 'content-length': 1000 }).write('half');
    setTimeout(() => request.socket.destroy(), 2);
    return;
  }
  if (how === 2) {
    request.socket.end('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n');
    return;
  }
  if (how === 3) return; // Never answers: its timeout ends it.
  request.on('end', () => {
    const text = `${id}:${Buffer.concat(chunks).toString()}`;
    const reply = (): void => {
      if (how === 4) response.setHeader('connection', 'close');
      if (how < 12) response.end(text);
      else {
        for (const piece of text.match(/[^]{1,50}/g) ?? []) response.write(piece);
        setTimeout(() => response.end(), random.below(3));
      }
    };
    if (random.chance(0.5)) reply();
    else setTimeout(reply, random.below(8));
  });
}

type Outcome = 'right' | 'error' | 'cut' | 'left';

/** Sends one request by hand and checks that what comes back is the answer to it. */
function ask(random: Random, port: number, id: string): Promise<Outcome> {
  const body = 'b'.repeat(random.below(random.chance(0.1) ? 200_000 : 200));
  const isChunked = random.chance(0.5);
  const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`;
  const chunks = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`;
  const bytes = isChunked ? `${chunks}0\r\n\r\n` : body;
  const leaves = random.chance(0.1);
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    let isReset = false;
    socket.on('error', () => void (isReset = true));
    socket.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
    socket.on('close', () => {
      const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
      if (leaves) resolve('left');
      else if (status === 200) {
        const [, head = '', payload = ''] = /^([^]*?\r\n)\r\n([^]*)$/.exec(text) ?? [];
        const plain = /chunked/.test(head) ? unchunk(payload) : payload;
        if (plain === `${id}:${body}`) resolve('right');
        else if (isReset || plain === 'half') resolve('cut');
        else reject(new Error(`seed ${SEED}: ${id} got ${JSON.stringify(text.slice(0, 600))}`));
      } else if (status >= 400) resolve('error');
      else resolve('cut');
    });
    socket.write(`POST /function/chaos HTTP/1.1\r\nHost: a\r\nX-Id: ${id}\r\nConnection: close\r\n${framing}\r\n\r\n`);
    const half = leaves ? Math.floor(bytes.length / 2) : bytes.length;
    socket.write(bytes.slice(0, half));
    if (leaves) setTimeout(() => socket.destroy(), random.below(6));
  });
}

function unchunk(text: string): string | undefined {
  let plain = '';
  for (let at = 0; ;) {
    const line = /^([0-9a-f]+)\r\n/.exec(text.slice(at, at + 20));
    if (!line) return undefined;
    const size = Number.parseInt(line[1] ?? '', 16);
    at += line[0].length;
    if (size === 0) return plain;
    plain += text.slice(at, at + size);
    at += size + 2;
  }
}

/** Instances that come when asked for, and are taken away, drained and killed at random. */
function restless(platform: Platform, random: Random) {
  const alive = new Map<string, InstanceServer>();
  let most = 0;
  platform.worker.acquire = async ({ revision }) => {
    if (random.chance(0.1)) throw new FnError('capacity.node_full', 'not now');
    let now = 0;
    const instance = await platform.serve('chaos', (request, response) => {
      most = Math.max(most, ++now);
      response.on('close', () => now--);
      behave(random, request, response);
    });
    alive.set(instance.id, instance);
    return platform.routable(instance, revision);
  };
  const end = async (id: string): Promise<void> => {
    await alive.get(id)?.close();
    alive.delete(id);
  };
  platform.worker.kill = async ({ instance }) => {
    await end(instance);
    return { gone: true };
  };
  platform.worker.autopsy = ({ instance }) =>
    alive.has(instance) ? { alive: true } : { alive: false, reason: 'exit' };
  const disturb = async (): Promise<void> => {
    const [id] = [...alive.keys()].slice(random.below(alive.size));
    const instance = id === undefined ? undefined : alive.get(id);
    if (!instance) return;
    const peer = await platform.peer();
    const mode = random.pick(['if-idle', 'drain', 'crash'] as const);
    if (mode === 'crash') {
      await end(instance.id);
      await peer.call('gone', { instance: instance.id, reason: 'exit' }, 1000);
      return;
    }
    const { idle } = await peer.call('unroute', { instance: instance.id, mode, deadlineMs: 500 }, 2000);
    if (idle || mode === 'drain') await end(instance.id);
  };
  return {
    disturb,
    most: () => most,
    sockets: () => [...alive.values()].reduce((sum, one) => sum + one.connections.size, 0),
  };
}

describe('in chaos', () => {
  it(`every reply is the answer to its request, and nothing is left behind (${REQUESTS} requests)`, async () => {
    await using platform = await startPlatform();
    await platform.deploy({ name: 'chaos', timeout: '300ms', concurrency: 1, scale: { max: 6 } });
    const random = randomSource(SEED);
    const world = restless(platform, random);
    const tally: Record<Outcome, number> = { right: 0, error: 0, cut: 0, left: 0 };
    let next = 0;
    const client = async (): Promise<void> => {
      while (next < REQUESTS) tally[await ask(random, platform.port, `id-${next++}`)]++;
    };
    const disturber = setInterval(() => void world.disturb(), 40);
    await Promise.all(Array.from({ length: AT_ONCE }, client)).finally(() => clearInterval(disturber));
    expect(tally.right).toBeGreaterThan(REQUESTS / 10);
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ inFlight: 0, waiting: 0, connections: 0 }));
    expect(world.most()).toBe(1);
    expect(world.sockets()).toBeLessThanOrEqual(6);
    process.stderr.write(`${JSON.stringify(tally)}\n`);
  }, 300_000);
});
