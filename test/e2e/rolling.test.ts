/** Every process is replaced while clients call, and no client notices. Sixteen connections are kept and used all the time, a
 *  second client opens a new connection for each request, jobs come in a stream, and meanwhile a revision is deployed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sleep } from '../../core/clock.ts';
import { passSockets, SOCKET_NAMES } from '../../core/inherited.ts';
import { closeFd, listenTcp, listenUnix } from '../../core/sockets.ts';
import { eventually } from '../support/eventually.ts';
import { echo, WORK } from '../support/faults.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform();
  await platform.deployFiles(echo('name: echo\nconcurrency: 4\nscale: { max: 4, min: 2 }'));
  await platform.deployFiles(echo('name: single\nscale: { max: 1 }'));
  await platform.deployFiles(echo('name: rare\nscale: { max: 2, idle: 1s }'));
  await platform.deployFiles(WORK);
  await platform.deployFiles(version('first'));
}, 180_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

function version(text: string): Record<string, string> {
  return { 'fn.yaml': 'name: versions', 'index.js': `export default () => new Response('${text}')` };
}

/** One call; `undefined` when all is well, else what was wrong. A broken connection is never tried again. */
function call(name: string, body: string, agent: Agent | false): Promise<string | undefined> {
  return new Promise((resolve) => {
    const outgoing = request(
      new URL(`/function/${name}`, platform.gatewayUrl),
      { method: 'POST', agent, headers: { 'content-length': Buffer.byteLength(body) } },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        incoming.on('error', (error) => resolve(`${name}: half a reply: ${error.message}`));
        incoming.on('end', () => {
          const isWell = incoming.statusCode === 200 && text === body;
          resolve(isWell ? undefined : `${name}: ${incoming.statusCode} ${text.slice(0, 300)}`);
        });
      },
    );
    outgoing.on('error', (error) => resolve(`${name}: ${(error as NodeJS.ErrnoException).code} ${error.message}`));
    outgoing.end(body);
  });
}

interface Load {
  readonly failed: string[];
  readonly ok: Record<string, number>;
  readonly jobs: { readonly id: string; readonly n: number }[];
}

/** Calls of every kind until the work is done. */
async function loadDuring(work: () => Promise<void>): Promise<Load> {
  const load: Load = { failed: [], ok: {}, jobs: [] };
  const over = new AbortController();
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const client = async (name: string, id: string, via: Agent | false, pause: number): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      const wrong = await call(name, `${id}:${n}`, via);
      if (wrong === undefined) load.ok[id] = (load.ok[id] ?? 0) + 1;
      else load.failed.push(`${id}:${n} ${wrong}`);
      if (pause > 0) await sleep(pause, over.signal).catch(() => {});
    }
  };
  const submitter = async (): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      try {
        load.jobs.push({ id: await platform.submit('/async/work', { n, ms: n % 10 === 0 ? 1500 : 0 }), n });
      } catch (error) {
        load.failed.push(`job ${n}: ${String(error)} ${String((error as Error).cause)}`);
      }
      await sleep(30, over.signal).catch(() => {});
    }
  };
  const clients = [
    ...Array.from({ length: 14 }, (_, id) => client('echo', `kept${id}`, agent, 0)),
    client('single', 'single', agent, 0),
    client('single', 'slow', agent, 700), // Its connection is idle at times, and must not be closed under it.
    client('echo', 'new', false, 5),
    client('single', 'newSingle', false, 20),
    client('rare', 'rare', false, 3000),
    submitter(),
  ];
  try {
    await work();
  } finally {
    over.abort();
    await Promise.all(clients);
    agent.destroy();
  }
  return load;
}

async function replaced(role: 'gateway' | 'worker' | 'controller' | 'builder'): Promise<void> {
  const before = await platform.pids(role);
  const { code, stdout, stderr } = await platform.fn(['restart', role, '--json']);
  expect([code, stderr]).toEqual([0, '']);
  const result = JSON.parse(stdout) as { replaced: { role: string; oldPid: number; pid: number }[] };
  expect(result.replaced).toMatchObject([{ role, oldPid: before.at(-1) }]);
  expect(await platform.pids(role)).toContain(result.replaced[0]?.pid);
}

async function instances(): Promise<string[]> {
  const found = await Promise.all(['echo', 'single'].map((name) => platform.instances(name)));
  return found.flat().map(({ id, pid }) => `${id} ${pid}`);
}

async function endOf(id: string): Promise<string | undefined> {
  const name = id.replace(/-[^-]*$/, '');
  const detail = await platform.api.get<{ instances: { id: string; end?: { reason: string } }[] }>(
    `/v1/functions/${name}`,
  );
  return detail.instances.find((one) => one.id === id)?.end?.reason;
}

test('every process is replaced and a revision deployed under load: no request fails, no job is lost', async () => {
  const kept: string[][] = [];
  const load = await loadDuring(async () => {
    await sleep(500);
    await replaced('gateway');
    await sleep(300);
    kept.push(await instances());
    await replaced('worker');
    await eventually(async () => expect((await instances()).length).toBeGreaterThan(0), 10_000);
    kept.push(await instances());
    const deploying = platform.deployFiles(version('second'));
    await replaced('controller');
    await replaced('builder');
    await deploying;
    await replaced('gateway');
    await sleep(500);
  });
  expect(load.failed).toEqual([]);
  for (const id of ['kept0', 'kept13', 'single', 'slow', 'new', 'newSingle', 'rare']) {
    expect([id, load.ok[id] ?? 0]).toEqual([id, expect.any(Number)]);
    expect(load.ok[id]).toBeGreaterThan(1);
  }
  // The new worker has the old one's instances. One above scale.min may be scaled down; nothing else may have ended one.
  const [before = [], after = []] = kept;
  const ended = before.filter((one) => !after.includes(one));
  expect(before.length).toBeGreaterThan(ended.length);
  for (const one of ended) expect(await endOf(one.split(' ')[0] ?? '')).toBe('scaled-down');

  expect(await (await platform.call('/function/versions')).text()).toBe('second');
  expect(load.jobs.length).toBeGreaterThan(50);
  for (const { id, n } of load.jobs) {
    const { state, attempts, result } = await platform.settled(id);
    expect([id, state, attempts, JSON.parse(result?.body ?? 'null')]).toEqual([
      id,
      'completed',
      1,
      { n, square: n * n },
    ]);
  }
  // Those that were replaced have nothing left to do.
  for (const role of ['gateway', 'worker', 'controller', 'builder'] as const) {
    await eventually(async () => expect(await platform.pids(role)).toHaveLength(1), 20_000);
  }
}, 240_000);

test('a new process that does not become ready: the old one stays, and the command says why', async () => {
  const { context } = platform.config.paths;
  const before = await platform.pids('controller');
  const text = await readFile(context, 'utf8');
  await writeFile(context, '{'); // What a controller needs at its start, and one that runs does not.
  const { code, stderr } = await platform.fn(['restart', 'all']).finally(() => writeFile(context, text));
  expect(code).toBe(1);
  expect(stderr).toContain('the controller was not replaced');
  expect(stderr).toContain(`${context} is damaged`);
  expect(stderr).toContain('platform/controller.log');
  expect(await platform.pids('controller')).toEqual(before);
  expect(await platform.api.get('/v1/status')).toMatchObject({ healthy: true });
  expect((await platform.fn(['restart', 'controler'])).stderr).toContain('Did you mean controller?');
});

test('a gateway on its own that gets SIGTERM finishes what is in flight and refuses new connections', async () => {
  await platform.deployFiles({
    'fn.yaml': 'name: slow',
    'index.js': "export default () => new Promise((r) => setTimeout(() => r(new Response('done')), 1500))",
  });
  // One beside `fn server` is refused, so it has a home of its own, where it finds the worker and Redis of this one.
  const home = join(platform.config.home, 'alone');
  await mkdir(join(home, 'run'), { recursive: true });
  await symlink(platform.config.paths.workerSocket, join(home, 'run/worker.sock'));
  const { fd, port } = await listenTcp('127.0.0.1', 0);
  const internal = listenUnix(join(home, 'gateway.sock'));
  const { env, stdio } = passSockets([
    [SOCKET_NAMES.gateway, fd],
    [SOCKET_NAMES.gatewayInternal, internal],
  ]);
  const gateway = spawn(process.execPath, [MAIN, 'gateway'], {
    env: {
      PATH: process.env['PATH'],
      FN_HOME: home,
      FN_NODE: 'test',
      REDIS_URL: `unix://${platform.config.paths.redisSocket}`,
      ...env,
    },
    stdio: ['ignore', 'ignore', 'ignore', ...stdio],
  });
  closeFd(fd);
  closeFd(internal);
  const exited = once(gateway, 'exit');
  const url = `http://127.0.0.1:${port}/function/slow`;
  const inFlight = fetch(url); // It waits in the kernel until the gateway is there.
  await eventually(async () => expect(await inFlightOf(port)).toBe(1), 20_000);
  gateway.kill('SIGTERM');
  await eventually(async () => {
    const refused = await fetch(url).then(
      () => undefined,
      (error: unknown) => (error as Error).cause as NodeJS.ErrnoException,
    );
    expect(refused?.code).toBe('ECONNREFUSED');
  });
  const reply = await inFlight;
  expect([reply.status, reply.headers.get('connection'), await reply.text()]).toEqual([200, 'close', 'done']);
  expect(await exited).toEqual([0, null]);
}, 60_000);

/** What the heartbeat of the gateway on that port says. */
async function inFlightOf(port: number): Promise<unknown> {
  const { processes } = await platform.api.get<{ processes: { facts?: Record<string, unknown> }[] }>('/v1/status');
  return processes.find(({ facts }) => facts?.['port'] === port)?.facts?.['inFlight'];
}
