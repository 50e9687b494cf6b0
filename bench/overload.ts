/** What a gateway does with more than its function can take: requests are offered at a fixed rate, whether or not earlier ones
 *  were answered, up to five times the capacity. Goodput should stay at the capacity, and the time of those that were
 *  accepted bounded by the waiting room.
 *
 *      npm run bench -- overload [seconds] [--svg docs/overload.svg] */

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { NODE_FLAGS } from '../core/service.ts';
import { overloadGraph, type OverloadPoint } from './support/graph.ts';
import { cleanEnvironment } from './support/environment.ts';
import { percentile } from './support/statistics.ts';
import { figure, printTable } from './support/table.ts';
import type { GatewaySetup } from './warm/gateway.ts';

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

/** What was measured at one rate. Rates a second, times ms. */
interface Row extends OverloadPoint {
  readonly refused: number;
  readonly failed: number;
  readonly p50: number;
}

async function measure(port: number, rate: number): Promise<Row> {
  const { good, refused, failed, times } = await offer(port, rate);
  return {
    offered: rate,
    goodput: good / SECONDS,
    refused: refused / SECONDS,
    failed,
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
  };
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { svg: { type: 'string' } } });
const SECONDS = Number(positionals[0] ?? 8);
const home = await mkdtemp(join(tmpdir(), 'fno-'));
const socket = join(home, 'f.sock');
const env = { ...cleanEnvironment(), FN_WAITING_LIMIT: String(WAITING) };
const start = (file: string, ...args: string[]): ChildProcessByStdio<null, Readable, null> =>
  spawn(process.execPath, [...NODE_FLAGS, join(import.meta.dirname, 'warm', file), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
const functionServer = start('function.mjs', socket, String(TAKES_MS));
await once(functionServer.stdout, 'data');
const setup: GatewaySetup = { home, socket, functions: 1, concurrency: CONCURRENCY };
const gateway = start('gateway.ts', JSON.stringify(setup));
try {
  const [line] = (await once(gateway.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  console.log(
    `a function that takes ${CONCURRENCY} at once, ${TAKES_MS} ms each; a waiting room of ${WAITING}; ${SECONDS} s for each rate`,
  );
  const { goodput: capacity } = await measure(port, CAPACITY * 1.2);
  const rows: Row[] = [];
  for (const times of [0.5, 0.8, 1, 1.5, 2, 3, 4, 5]) rows.push(await measure(port, CAPACITY * times));
  console.log(`capacity: ${CAPACITY}/s, of which timers and the machine leave ${Math.round(capacity)}/s`);
  printTable(
    ['offered/s', 'goodput/s', 'of capacity', '429/s', 'failed', 'p50 ms', 'p99 ms'],
    rows.map(({ offered, goodput, refused, failed, p50, p99 }) => [
      String(offered),
      String(Math.round(goodput)),
      `${Math.round((goodput / capacity) * 100)} %`,
      String(Math.round(refused)),
      String(failed),
      figure(p50),
      figure(p99),
    ]),
  );
  if (values.svg !== undefined) await writeFile(values.svg, overloadGraph(rows, capacity));
} finally {
  const gone = [once(gateway, 'exit'), once(functionServer, 'exit')];
  gateway.kill('SIGTERM');
  functionServer.kill('SIGTERM');
  await Promise.all(gone);
  await rm(home, { recursive: true, force: true });
}
