/** The platform's own Redis: on a unix socket in FN_HOME, append-only, never evicting. Whoever can open the socket can
 *  command the platform, so it lies in the directory that only root and the gateway's group may enter. */

import { spawn } from 'node:child_process';
import { chown, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Redis } from 'ioredis';
import { sleep } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import { findProgram, isRunning } from '../../core/processes.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import type { Millis } from '../../core/units.ts';
import { KeptProcess, type ProcessEvents } from './kept-process.ts';

const STALE_ANSWERS_WITHIN: Millis = 30_000;

export function privateRedis(config: Config, env: Record<string, string>, events: ProcessEvents): KeptProcess {
  const program = findServer();
  return new KeptProcess({
    name: 'redis',
    ...events,
    launch: () => spawn(program, argumentsOf(config), { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] }),
    ready: async (_, signal) => {
      const redis = connectRedis(config, 'failFast');
      try {
        await waitForRedis(redis, 30_000, signal); // Reading back a large append-only file takes a while.
        await chown(config.paths.redisSocket, process.getuid?.() ?? 0, config.gatewayUid);
      } finally {
        redis.disconnect();
      }
    },
  });
}

function argumentsOf(config: Config): string[] {
  const settings = {
    port: '0',
    unixsocket: config.paths.redisSocket,
    unixsocketperm: '770',
    dir: config.paths.redis,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
    loglevel: 'warning',
  };
  return Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]);
}

function findServer(): string {
  const found = findProgram('valkey-server') ?? findProgram('redis-server');
  if (found !== undefined) return found;
  throw new FnError('machine.unsupported', 'neither valkey-server nor redis-server is installed', {
    hint: '"npm start" installs it; by hand: apt-get install redis-server (or set REDIS_URL).',
  });
}

/** After a crash of the supervisor its Redis lives on with our data directory: end it, or two would write to one file. */
export async function endStaleRedis(config: Config): Promise<boolean> {
  if (!(await listens(config.paths.redisSocket))) {
    await rm(config.paths.redisSocket, { force: true });
    return false;
  }
  const redis = connectRedis(config, 'failFast');
  try {
    await waitForRedis(redis, STALE_ANSWERS_WITHIN); // It may still read its file, on a busy machine.
  } catch (error) {
    redis.disconnect();
    throw error; // Not to be started beside it.
  }
  const pid = Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]);
  await shutDown(redis);
  const end = performance.now() + 10_000;
  while (isRunning(pid)) {
    if (performance.now() > end) process.kill(pid, 'SIGKILL');
    await sleep(20);
  }
  return true;
}

function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (listening: boolean) => (): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.once('connect', end(true)).once('error', end(false));
  });
}

async function shutDown(redis: Redis): Promise<void> {
  const deadline: Millis = 2000;
  // It answers by closing the connection, which ioredis reports as an error.
  await Promise.race([redis.call('SHUTDOWN', 'NOSAVE').catch(() => {}), sleep(deadline)]);
  redis.disconnect();
}
