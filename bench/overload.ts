/** What a gateway does with more than its function can take: requests are offered at a fixed rate, whether or not earlier ones
 *  were answered, up to five times the capacity. Goodput should stay at the capacity, and the time of those that were
 *  accepted bounded by the waiting room.
 *
 *      npm run bench -- overload [seconds] */

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

const SECONDS = Number(process.argv[2] ?? 8);
/** The function: so many at once, so long each. */
const CONCURRENCY = 10;
const TAKES_MS = 20;
const CAPACITY = (CONCURRENCY * 1000) / TAKES_MS;
/** Requests that may wait: a fifth of a second of work. */
const WAITING = 100;
const TICK_MS = 5;

interface Tally {
  good: number;
  refused: number;
  failed: number;
  readonly times: number[];
}

/** Idle connections to send on; as many as it takes, as from many clients. */
class Clients {
  readonly #port: number;
  readonly #idle: Socket[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  ask(tally: Tally): void {
    const socket = this.#idle.pop() ?? this.#connect(tally);
    const began = performance.now();
    const onData = (chunk: Buffer): void => {
      const status = chunk.toString('latin1', 9, 12);
      if (status === '200') {
        tally.good++;
        tally.times.push(performance.now() - began);
      } else if (status === '429') tally.refused++;
      else tally.failed++;
      socket.off('data', onData);
      this.#idle.push(socket);
    };
    socket.on('data', onData);
    socket.write('GET /function/bench HTTP/1.1\r\nHost: a\r\n\r\n');
  }

  #connect(tally: Tally): Socket {
    const socket = connect(this.#port, '127.0.0.1');
    socket.on('error', () => tally.failed++);
    return socket;
  }

  close(): void {
    for (const socket of this.#idle) socket.destroy();
  }
}

async function offer(port: number, rate: number): Promise<Tally> {
  const clients = new Clients(port);
  const warmUp: Tally = { good: 0, refused: 0, failed: 0, times: [] };
  const tally: Tally = { good: 0, refused: 0, failed: 0, times: [] };
  const start = performance.now();
  let sent = 0;
  for (;;) {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed > SECONDS + 1) break;
    for (; sent < elapsed * rate; sent++) clients.ask(elapsed < 1 ? warmUp : tally);
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  clients.close();
  return tally;
}

const home = await mkdtemp(join(tmpdir(), 'fno-'));
const socket = join(home, 'f.sock');
const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', FN_WAITING_LIMIT: String(WAITING) };
const start = (file: string, ...args: string[]): ChildProcessByStdio<null, Readable, null> =>
  spawn(process.execPath, [join(import.meta.dirname, 'warm', file), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
const functionServer = start('function.mjs', socket, String(TAKES_MS));
await once(functionServer.stdout, 'data');
const gateway = start('gateway.ts', home, socket, '1', String(CONCURRENCY));
try {
  const [line] = (await once(gateway.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  console.log(
    `capacity ${CAPACITY}/s (${CONCURRENCY} at once, ${TAKES_MS} ms each), a waiting room of ${WAITING}; ${SECONDS} s each\n`,
  );
  const { good: most } = await offer(port, CAPACITY * 1.2);
  const capacity = most / SECONDS;
  console.log(`timers and the machine leave ${Math.round(capacity)}/s of it\n`);
  console.log('    offered/s    goodput/s  of capacity     429/s    failed    p50 ms    p99 ms');
  for (const times of [0.5, 1, 2, 3, 5]) {
    const { good, refused, failed, times: taken } = await offer(port, CAPACITY * times);
    taken.sort((a, b) => a - b);
    const at = (share: number): string => (taken[Math.floor(taken.length * share)] ?? 0).toFixed(1);
    const goodput = good / SECONDS;
    const cells = [CAPACITY * times, Math.round(goodput), `${Math.round((goodput / capacity) * 100)} %`];
    cells.push(Math.round(refused / SECONDS), failed, at(0.5), at(0.99));
    console.log(cells.map((cell, index) => String(cell).padStart(index < 3 ? 13 : 10)).join(''));
  }
} finally {
  const gone = [once(gateway, 'exit'), once(functionServer, 'exit')];
  gateway.kill('SIGTERM');
  functionServer.kill('SIGTERM');
  await Promise.all(gone);
  await rm(home, { recursive: true, force: true });
}
