/** A real Redis of its own for a test file: append-only like the platform's, on a unix socket in a temporary directory. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig } from '../../core/config.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';

export interface TestRedis extends AsyncDisposable {
  /** A configuration whose FN_HOME is a fresh directory and whose REDIS_URL is this server. */
  readonly config: Config;
  readonly pid: number;
  kill(): Promise<void>;
  start(): Promise<void>;
}

export async function startRedis(env: Record<string, string> = {}): Promise<TestRedis> {
  const home = await mkdtemp(join(tmpdir(), 'fnt-'));
  const socket = join(home, 'r.sock');
  const config = loadConfig({ FN_HOME: home, REDIS_URL: `unix://${socket}`, FN_LOG_LEVEL: 'silent', ...env });
  const boot = async (): Promise<ReturnType<typeof spawn>> => {
    const args = ['--port', '0', '--unixsocket', socket, '--unixsocketperm', '777', '--dir', home];
    const child = spawn('redis-server', [...args, '--appendonly', 'yes', '--save', ''], { stdio: 'ignore' });
    const redis = connectRedis(config, 'failFast');
    await waitForRedis(redis, 10_000);
    redis.disconnect();
    return child;
  };
  let server = await boot();
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    server.kill('SIGKILL');
    await gone;
  };
  return {
    config,
    get pid() {
      return server.pid ?? 0;
    },
    kill,
    async start() {
      server = await boot();
    },
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(home, { recursive: true, force: true });
    },
  };
}
