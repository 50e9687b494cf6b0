import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, watch, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Api } from '../../cli/api.ts';
import { lockHolder, takeLock } from '../../cli/server/lock.ts';
import { jsonReporter } from '../../cli/server/reporter.ts';
import { Supervisor } from '../../cli/server/supervisor.ts';
import { loadConfig } from '../../core/config.ts';
import { readContext } from '../../core/context.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { FN, fn } from '../support/command.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { leftovers } from '../support/platform.ts';
import { startRedis } from '../support/redis.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const PORTS = { FN_GATEWAY_PORT: '0', FN_API_PORT: '0' };

describe.skipIf(skipBecause(notRoot()))('fn server refuses to start, says why, and leaves nothing', () => {
  test('when a port is taken', async () => {
    await using home = await testDirectory();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { code, stderr } = await fn(['server'], { env: { ...PORTS, FN_HOME: home.path, FN_API_PORT: String(port) } });
    server.close();
    expect(code).toBe(1);
    expect(stderr).toContain(`127.0.0.1:${port} is taken by`);
    expect(stderr).toContain(`(pid ${process.pid})`);
    expect(stderr).toContain('FN_API_PORT=');
    expect(leftovers(loadConfig({ FN_HOME: home.path }))).toEqual([]);
  });

  test('when FN_HOME cannot be a directory', async () => {
    await using home = await testDirectory();
    await writeFile(join(home.path, 'file'), '');
    const { code, stderr } = await fn(['server'], { env: { ...PORTS, FN_HOME: join(home.path, 'file', 'below') } });
    expect(code).toBe(2);
    expect(stderr).toContain(`FN_HOME: ${join(home.path, 'file', 'below')} cannot be made a directory`);
  });

  test.each([
    ['forgets on restart', 'appendonly', 'no', 'without append-only persistence', 'CONFIG SET appendonly yes'],
    [
      'evicts',
      'maxmemory-policy',
      'allkeys-lru',
      'evicts keys under pressure',
      'CONFIG SET maxmemory-policy noeviction',
    ],
  ])('when the Redis it was given %s', async (_, key, value, detail, hint) => {
    await using redis = await startRedis();
    const client = connectRedis(redis.config, 'failFast');
    await waitForRedis(client, 5000);
    await client.config('SET', key, value);
    client.disconnect();
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path, REDIS_URL: redis.config.redisUrl };
    const { code, stderr } = await fn(['server'], { env });
    expect(code).toBe(1);
    expect(stderr).toContain(detail);
    expect(stderr).toContain(hint);
    expect(leftovers(loadConfig(env))).toEqual([]);
  });

  test('when the Redis it was given is not there', async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path, REDIS_URL: 'redis://127.0.0.1:1' };
    const { code, stderr } = await fn(['server'], { env });
    expect(code).toBe(1);
    expect(stderr).toContain('Redis does not answer');
  });

  test("when a process of it cannot start, with that process' own words", async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path, FN_DRIVER: 'runc', PATH: '/nonexistent' };
    const { code, stderr } = await fn(['server'], {
      env: { ...env, PATH: process.env['PATH'] ?? '', FN_API_HOST: '203.0.113.7' },
    });
    expect(code).toBe(2);
    expect(stderr).toContain('cannot listen on 203.0.113.7');
    expect(leftovers(loadConfig({ FN_HOME: home.path }))).toEqual([]);
  });

  test('when it is not root', async () => {
    await using home = await testDirectory();
    await chmod(home.path, 0o777);
    const child = spawn(FN, ['server'], {
      uid: 65_534,
      gid: 65_534,
      env: { PATH: process.env['PATH'], FN_HOME: join(home.path, 'home'), HOME: '/nonexistent' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (chunk) => (errors += String(chunk)));
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(errors).toContain('needs root');
    expect(errors).toContain('sudo npm start');
  });
});

describe.skipIf(skipBecause(notRoot()))('fn server that is interrupted while it starts', () => {
  test.each([50, 300, 700, 1200])('after %d ms leaves nothing', async (ms) => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    const child = spawn(FN, ['server', '--json'], { env: { PATH: process.env['PATH'], ...env }, stdio: 'ignore' });
    const exited = once(child, 'exit');
    await new Promise((resolve) => setTimeout(resolve, ms)); // Where it has got to by then differs: each place must do.
    child.kill('SIGINT');
    await exited;
    expect(leftovers(loadConfig(env))).toEqual([]);
  });

  test('at its very first step leaves nothing', async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    const supervisor = new Supervisor(loadConfig(env), jsonReporter('silent'));
    const started = supervisor.start();
    await Promise.all([expect(started).rejects.toThrow('stopped while starting'), supervisor.end()]);
    expect(leftovers(loadConfig(env))).toEqual([]);
    expect(await lockHolder(loadConfig(env).paths.lock)).toBeUndefined();
  });

  test('at its very last step leaves nothing', async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    const config = loadConfig(env);
    await mkdir(config.paths.run, { recursive: true });
    const child = spawn(FN, ['server', '--json'], { env: { PATH: process.env['PATH'], ...env }, stdio: 'ignore' });
    const exited = once(child, 'exit');
    for await (const { filename } of watch(config.paths.run)) {
      if (filename === basename(config.paths.supervisorSocket)) break;
    }
    child.kill('SIGINT');
    await exited;
    expect(leftovers(config)).toEqual([]);
  }, 60_000);
});

describe.skipIf(skipBecause(notRoot()))('fn server that was killed', () => {
  test('takes its processes with it; the next start ends the Redis it left and loses nothing', async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    const config = loadConfig(env);
    const start = async (): Promise<{ child: ChildProcess; exited: Promise<unknown> }> => {
      const child = spawn(FN, ['server', '--json'], { env: { PATH: process.env['PATH'], ...env }, stdio: 'ignore' });
      const exited = once(child, 'exit');
      await eventually(() => requireHealthy(env), 60_000);
      return { child, exited };
    };
    const first = await start();
    const redis = connectRedis(config, 'failFast');
    await waitForRedis(redis, 5000);
    await redis.set('kept', 'yes');
    first.child.kill('SIGKILL');
    await first.exited;
    await eventually(() => {
      const left = leftovers(config).filter((one) => one.startsWith('process'));
      expect(left).toEqual([expect.stringContaining('redis')]);
    }, 30_000);

    const second = await start();
    await waitForRedis(redis, 5000);
    expect(await redis.get('kept')).toBe('yes');
    redis.disconnect();
    second.child.kill('SIGTERM');
    expect(await second.exited).toEqual([0, null]);
    expect(leftovers(config)).toEqual([]);
  }, 120_000);

  test('by a second Ctrl-C ends without waiting, and still leaves no sandbox', async () => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    const child = spawn(FN, ['server', '--json'], { env: { PATH: process.env['PATH'], ...env }, stdio: 'ignore' });
    const exited = once(child, 'exit');
    await eventually(() => requireHealthy(env), 60_000);
    child.kill('SIGINT');
    await eventually(async () => expect(await connected(env)).toBe(false));
    child.kill('SIGINT');
    expect(await exited).toEqual([0, null]);
    expect(leftovers(loadConfig(env)).filter((one) => !one.startsWith('socket'))).toEqual([]);
  }, 120_000);
});

async function requireHealthy(env: Readonly<Record<string, string>>): Promise<void> {
  const context = await readContext(loadConfig(env).home);
  if (!context) throw new Error('no context yet');
  expect(await new Api(context).get('/v1/status')).toMatchObject({ healthy: true });
}

/** Whether the gateway still takes connections. */
async function connected(env: Readonly<Record<string, string>>): Promise<boolean> {
  const context = await readContext(loadConfig(env).home);
  return fetch(`${context?.gatewayUrl}/healthz`).then(
    () => true,
    () => false,
  );
}

describe.skipIf(skipBecause(notRoot()))('a process that is started alone', () => {
  test.each(['gateway', 'worker', 'controller', 'builder'])('is no second %s beside fn server', async (role) => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    await using _ = await takeLock(loadConfig(env).paths.lock);
    const { code, stderr } = await fn([role], { env });
    expect(code).toBe(1);
    expect(stderr).toContain(`pid ${process.pid} runs all of the platform in ${home.path}`);
    expect(stderr).toContain(`fn restart ${role}`);
  });

  test.each(['worker', 'builder'])('as %s is the only one, also for fn server', async (role) => {
    await using home = await testDirectory();
    const env = { ...PORTS, FN_HOME: home.path };
    await using _ = await takeLock(join(home.path, `${role}.lock`));
    expect((await fn([role], { env })).stderr).toContain(`pid ${process.pid} holds`);
    const { code, stderr } = await fn(['server'], { env });
    expect(code).toBe(1);
    expect(stderr).toContain(`pid ${process.pid} is the ${role} of ${home.path}`);
  });

  test.each(['gateway', 'worker', 'controller', 'builder'])('as %s may be the first in its FN_HOME', async (role) => {
    await using home = await testDirectory();
    await using redis = await startRedis();
    const env = { ...PORTS, FN_HOME: join(home.path, 'new'), REDIS_URL: redis.config.redisUrl };
    const child = spawn(FN, [role], {
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const exited = once(child, 'exit');
    await eventually(() => expect(said).toContain('"msg":"ready"'), 30_000);
    child.kill('SIGINT');
    expect(await exited).toEqual([0, null]);
    // A gateway has given up the right to remove its socket; the next one replaces it.
    expect(leftovers(loadConfig(env)).filter((one) => one !== 'socket gateway.sock')).toEqual([]);
  });
});
