/** What a gateway holds in memory: with functions deployed and with idle clients connected, beside an empty one.
 *
 *      npm run bench -- connections [functions] [connections] */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NODE_FLAGS } from '../core/service.ts';
import type { GatewaySetup } from './warm/gateway.ts';

const [functions = '10000', connections = '10000'] = process.argv.slice(2);
const KIB = 1024;

interface GatewayProcess extends AsyncDisposable {
  readonly port: number;
  /** Proportional set size, bytes: what it has to itself and its share of the rest. */
  pss(): Promise<number>;
}

async function start(home: string, socket: string, count: number): Promise<GatewayProcess> {
  const program = join(import.meta.dirname, 'warm/gateway.ts');
  const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' };
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS, program, JSON.stringify({ home, socket, functions: count } satisfies GatewaySetup)],
    {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    port: Number(line.toString()),
    async pss() {
      const text = await readFile(`/proc/${child.pid}/smaps_rollup`, 'utf8');
      return Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) * KIB;
    },
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.resume();
  await once(socket, 'connect');
  return socket;
}

const mib = (bytes: number): string => `${(bytes / KIB ** 2).toFixed(1)} MiB`.padStart(12);
const home = await mkdtemp(join(tmpdir(), 'fnc-'));
const functionServer = createServer().listen(join(home, 'f.sock'));
try {
  let empty: number;
  {
    await using gateway = await start(home, join(home, 'f.sock'), 1);
    empty = await gateway.pss();
  }
  await rm(join(home, 'w.sock'), { force: true });
  await using gateway = await start(home, join(home, 'f.sock'), Number(functions));
  const deployed = await gateway.pss();
  const clients: Socket[] = [];
  while (clients.length < Number(connections)) {
    clients.push(...(await Promise.all(Array.from({ length: 100 }, () => open(gateway.port)))));
  }
  const connected = await gateway.pss();
  const each = ((connected - deployed) / clients.length / KIB).toFixed(1);
  console.log(`an empty gateway                 ${mib(empty)}`);
  console.log(
    `with ${functions} functions            ${mib(deployed)}   (the records are held twice here: store and snapshot)`,
  );
  console.log(`and ${connections} idle connections     ${mib(connected)}   (${each} KiB each)`);
  for (const client of clients) client.destroy();
} finally {
  functionServer.close();
  await rm(home, { recursive: true, force: true });
}
