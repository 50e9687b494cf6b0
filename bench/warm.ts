/** A warm call: the gateway beside a bare node server, nginx and an undici proxy, all in front of the same function on a unix
 *  socket. Rounds are interleaved, so that a noisy machine is noisy for everyone; medians and ratios are printed.
 *
 *      npm run bench:warm [-- --full --rounds 9 --seconds 3]
 *
 *  The function runs in a cgroup of its own as an instance does, and the gateway has a Redis: each of its calls reads the
 *  counters twice and is written down, as in a whole platform. `--full` adds larger bodies in both directions and more
 *  deployed functions. Needs root, wrk, nginx and redis-server. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { AccountFiles } from '../core/account.ts';
import { NODE_FLAGS } from '../core/service.ts';
import { freePort } from '../test/support/free-port.ts';
import { startRedis } from '../test/support/redis.ts';
import { openCgroups } from '../worker/cgroup/open.ts';
import { cleanEnvironment } from './support/environment.ts';
import type { GatewaySetup } from './warm/gateway.ts';
import { Lab, nginxConfig } from './warm/lab.ts';

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
  },
});
const ROUNDS = Number(values.rounds);
const SECONDS = Number(values.seconds);

interface Case {
  readonly name: string;
  readonly connections: number;
  /** Bytes of the request's body. */
  readonly up: number;
  /** Bytes of the reply's body: one of those bench/warm/function.mjs knows. */
  readonly down: number;
  readonly functions: number;
}

const KIB = 1024;
const small = { up: 100, down: 100, functions: 1 };
const CASES: readonly Case[] = [
  { name: '1 connection', connections: 1, ...small },
  { name: '16 connections', connections: 16, ...small },
  { name: '128 connections', connections: 128, ...small },
  ...(values.full
    ? [
        { name: '16, 10 KiB down', connections: 16, ...small, down: 10 * KIB },
        { name: '16, 10 KiB up', connections: 16, ...small, up: 10 * KIB },
        { name: '16, 1 MiB down', connections: 16, ...small, down: 1024 * KIB },
        { name: '16, 1 MiB up', connections: 16, ...small, up: 1024 * KIB },
        { name: '16, 100 functions', connections: 16, ...small, functions: 100 },
        { name: '16, 10,000 functions', connections: 16, ...small, functions: 10_000 },
      ]
    : []),
];

interface Contestant {
  readonly name: string;
  readonly pid: number;
  url(down: number): string;
}

interface Sample {
  readonly rate: number;
  /** ms. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the contestant's process for one request, µs. */
  readonly cpu: number;
}

/** Prints one line of JSON when wrk is done. */
const SCRIPT = (up: number): string => `
wrk.method = "POST"
wrk.body = string.rep("x", ${up})
wrk.headers["Content-Type"] = "application/octet-stream"
function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('RESULT {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"errors":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors))
end
`;

async function cpuTicks(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]); // utime + stime, hundredths of a second
}

async function measure(contestant: Contestant, one: Case, script: string, seconds: number): Promise<Sample> {
  const before = await cpuTicks(contestant.pid);
  const args = ['-t1', `-c${one.connections}`, `-d${seconds}s`, '-s', script, contestant.url(one.down)];
  const wrk = spawn('wrk', args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  wrk.stdout.on('data', (chunk: Buffer) => void (text += chunk.toString()));
  await once(wrk, 'close');
  const after = await cpuTicks(contestant.pid);
  const json = /RESULT (.*)/.exec(text)?.[1];
  if (json === undefined) throw new Error(`wrk said: ${text}`);
  const result = JSON.parse(json) as { requests: number; micros: number; p50: number; p99: number; errors: number };
  if (result.errors > 0) throw new Error(`${contestant.name}: ${result.errors} errors`);
  const { requests, micros, p50, p99 } = result;
  const cpu = ((after - before) * 10_000) / requests;
  return { rate: (requests / micros) * 1e6, p50: p50 / 1000, p99: p99 / 1000, cpu };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

/** Puts the process into a cgroup of its own, which goes at the end; the process must have ended by then. */
async function cgroupOf(pid: number): Promise<AsyncDisposable & { readonly account: AccountFiles }> {
  const manager = openCgroups(randomBytes(4).toString('hex'));
  await manager.prepare();
  const group = manager.open('bench');
  group.create();
  group.add(pid);
  return {
    account: group.accountFiles(process.getuid?.() ?? 0),
    async [Symbol.asyncDispose]() {
      await group.kill();
      await group.remove();
      group[Symbol.dispose]();
      await manager.remove();
    },
  };
}

async function run(home: string): Promise<void> {
  await using lab = new Lab();
  const here = import.meta.dirname;
  const socket = join(home, 'f.sock');
  const behind = await lab.start(process.execPath, [join(here, 'warm/function.mjs'), socket]);
  await using group = await cgroupOf(behind.pid);
  await using redis = await startRedis();
  const bare = await lab.start(process.execPath, [join(here, 'warm/function.mjs'), '0']);
  const undici = await lab.start(process.execPath, [join(here, 'warm/undici-proxy.mjs'), socket]);
  const config = join(home, 'nginx.conf');
  const pidFile = join(home, 'nginx.pid');
  const port = await freePort();
  await writeFile(config, nginxConfig(home, socket, pidFile, port));
  const nginx = await lab.nginx(config, pidFile);
  const gateways = new Map<number, { pid: number; line: string }>();
  for (const functions of new Set(CASES.map((one) => one.functions))) {
    const own = join(home, `g${functions}`);
    await mkdir(own);
    gateways.set(
      functions,
      await lab.start(process.execPath, [
        ...NODE_FLAGS,
        join(here, 'warm/gateway.ts'),
        JSON.stringify({
          home: own,
          socket,
          functions,
          redisUrl: redis.config.redisUrl,
          account: group.account,
        } satisfies GatewaySetup),
      ]),
    );
  }

  for (const one of CASES) {
    const gateway = gateways.get(one.functions)!;
    const at = (port: string | number) => (down: number) => `http://127.0.0.1:${port}/${down}`;
    const contestants: readonly Contestant[] = [
      { name: 'bare node', pid: bare.pid, url: at(bare.line) },
      { name: 'nginx', pid: nginx, url: at(port) },
      { name: 'fn', pid: gateway.pid, url: (down) => `http://127.0.0.1:${gateway.line}/function/bench/${down}` },
      { name: 'undici', pid: undici.pid, url: at(undici.line) },
    ];
    const script = join(home, 'post.lua');
    await writeFile(script, SCRIPT(one.up));
    const samples = new Map(contestants.map(({ name }) => [name, [] as Sample[]]));
    for (const contestant of contestants) await measure(contestant, one, script, 1);
    for (let round = 0; round < ROUNDS; round++) {
      for (const contestant of contestants) {
        samples.get(contestant.name)!.push(await measure(contestant, one, script, SECONDS));
      }
    }
    print(one, samples);
  }
}

function print(one: Case, samples: ReadonlyMap<string, readonly Sample[]>): void {
  const of = (name: string, key: keyof Sample): number[] => (samples.get(name) ?? []).map((sample) => sample[key]);
  console.log(
    `\n${one.name}\n${'requests/s'.padStart(27)}${'p50 ms'.padStart(10)}${'p99 ms'.padStart(10)}${'cpu µs'.padStart(10)}`,
  );
  for (const name of samples.keys()) {
    const cells = [
      Math.round(median(of(name, 'rate'))).toString(),
      ...(['p50', 'p99'] as const).map((key) => median(of(name, key)).toFixed(3)),
      median(of(name, 'cpu')).toFixed(1),
    ];
    console.log(`  ${name.padEnd(15)}${cells.map((cell) => cell.padStart(10)).join('')}`);
  }
  const fn = of('fn', 'rate');
  const ratio = (other: string): string => median(of(other, 'rate').map((rate, round) => fn[round]! / rate)).toFixed(2);
  const added = median(of('fn', 'p50').map((p50, round) => p50 - of('bare node', 'p50')[round]!)).toFixed(3);
  console.log(
    `  fn is ${ratio('nginx')} × nginx, ${ratio('undici')} × undici, and adds ${added} ms to bare node's p50`,
  );
}

const home = await mkdtemp(join(tmpdir(), 'fnw-'));
try {
  console.log(`${ROUNDS} rounds of ${SECONDS} s each, interleaved; medians; ratios are medians of each round's ratio`);
  await run(home);
} finally {
  await rm(home, { recursive: true, force: true });
}
