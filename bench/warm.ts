/** A warm call: the gateway beside a bare node server, nginx and an undici proxy, all in front of the same function on a unix
 *  socket. Rounds are interleaved, so that a noisy machine is noisy for everyone; medians and ratios are printed.
 *
 *      npm run bench:warm [-- --full --rounds 9 --seconds 3]
 *
 *  `--full` adds larger bodies in both directions and more deployed functions. Needs wrk and nginx. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

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

/** Nothing of the host's environment: NODE_EXTRA_CA_CERTS and the like would slow one contestant and not another. */
const ENV = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' };

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

class Lab implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];

  /** Starts a program; resolves to the first line it prints. */
  async start(command: string, args: readonly string[]): Promise<{ pid: number; line: string }> {
    const child = spawn(command, args, { env: ENV, stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.push(child);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return { pid: child.pid ?? 0, line: line.toString().trim() };
  }

  /** nginx says nothing when it is ready; it is when its pid file is there. */
  async nginx(config: string, pidFile: string): Promise<number> {
    const child = spawn('nginx', ['-c', config], { env: ENV, stdio: 'inherit' });
    this.#children.push(child);
    while (child.exitCode === null) {
      const workers = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').catch(() => '');
      const isReady = await readFile(pidFile).catch(() => undefined);
      if (isReady && workers.trim() !== '') return Number(workers.trim().split(' ')[0]);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`nginx ended with ${child.exitCode}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      const gone = once(child, 'exit');
      if (child.kill('SIGTERM')) await gone;
    }
  }
}

/** A port nobody listens on at the moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function nginxConfig(home: string, socket: string, pidFile: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${join(home, kind)};`)
    .join(' ');
  return `
user root; worker_processes 1; daemon off; pid ${pidFile}; error_log /dev/null;
events { worker_connections 2048; }
http {
  access_log off; ${temporary}
  keepalive_requests 1000000000; client_max_body_size 0; client_body_buffer_size 2m; proxy_buffers 16 128k; proxy_buffer_size 128k; proxy_busy_buffers_size 256k;
  upstream function { server unix:${socket}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://function; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto http;
    }
  }
}
`;
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
  const wrk = spawn('wrk', args, { env: ENV, stdio: ['ignore', 'pipe', 'inherit'] });
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

async function run(home: string): Promise<void> {
  await using lab = new Lab();
  const here = import.meta.dirname;
  const socket = join(home, 'f.sock');
  await lab.start(process.execPath, [join(here, 'warm/function.mjs'), socket]);
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
      await lab.start(process.execPath, [join(here, 'warm/gateway.ts'), own, socket, String(functions)]),
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
