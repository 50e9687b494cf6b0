/** Runs runtime/node/bootstrap.mjs as the worker does: a process that inherits a listening unix socket as fd 3 and is
 *  claimed over it. Without the sandbox around it; the directory of the function is a temporary one. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client, type Dispatcher } from 'undici';
import { CLAIM_PATH, LISTEN_FD, WORKER_FIELD } from '../../core/control.ts';
import { closeFd, listenUnix } from '../../core/sockets.ts';

const RUNTIME = join(import.meta.dirname, '../../runtime/node');

/** What the client says when the other side went away, or it left itself. */
export const BROKEN = /closed|terminated|aborted|ECONNRE|ENOENT/;

export interface Reply {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
  text(): string;
  json(): unknown;
}

export interface RequestOptions {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]> | string[];
  readonly body?: string | Buffer | null;
}

export interface BootstrapOptions {
  /** Files of the function by path; or an existing directory. */
  readonly files?: Readonly<Record<string, string>>;
  readonly directory?: string;
  readonly handler?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** Directory of another bootstrap.mjs than ours. */
  readonly runtime?: string;
  readonly memoryBytes?: number;
  /** Ask for health first, as for a sandbox of the pool. */
  readonly warm?: boolean;
  readonly timeoutMs?: number;
}

/** A sandbox that belongs to no function yet. */
export class Bootstrap implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly socket: string;
  readonly client: Client;
  /** What it has written so far. */
  stdout = '';
  stderr = '';
  /** Exit code or signal, once it has ended. */
  readonly ended: Promise<number | string>;
  readonly #options: BootstrapOptions;
  readonly #home: string;

  private constructor(options: BootstrapOptions, home: string) {
    this.#options = options;
    this.#home = home;
    this.socket = join(home, 'fn.sock');
    const fd = listenUnix(this.socket, 64);
    this.process = spawn(
      process.execPath,
      [...(options.flags ?? []), join(options.runtime ?? RUNTIME, 'bootstrap.mjs')],
      {
        env: { FN_SANDBOX: '1', FN_TASK: options.directory ?? join(home, 'task') },
        stdio: ['ignore', 'pipe', 'pipe', fd],
      },
    );
    closeFd(fd);
    if (LISTEN_FD !== 3) throw new Error('the order of stdio above assumes fd 3');
    this.process.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    this.process.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.ended = once(this.process, 'close').then(([code, signal]) => (code ?? signal) as number | string);
    this.client = this.connect().client;
  }

  static async start(options: BootstrapOptions): Promise<Bootstrap> {
    const home = await mkdtemp(join(tmpdir(), 'fn-boot-'));
    await writeFiles(join(home, 'task'), options.files ?? {});
    return new Bootstrap(options, home);
  }

  claim(): Promise<Reply> {
    const { handler = 'index.default', env = {}, timeoutMs = 30_000, memoryBytes = 256 * 2 ** 20 } = this.#options;
    const revision = 'hello-00001';
    const claim = { function: 'hello', revision, instance: 'hello-01234567', handler, env, timeoutMs, memoryBytes };
    return this.ask(CLAIM_PATH, { method: 'POST', body: JSON.stringify(claim) });
  }

  health(): Promise<Reply> {
    return this.ask('/_fn/health');
  }

  /** As the worker. */
  ask(path: string, options: RequestOptions = {}): Promise<Reply> {
    return this.request(path, { ...options, headers: { [WORKER_FIELD]: '1' } });
  }

  async request(path: string, options: RequestOptions = {}): Promise<Reply> {
    const { statusCode, headers, body } = await this.open(path, options);
    const bytes = Buffer.from(await body.arrayBuffer());
    return {
      status: statusCode,
      headers,
      body: bytes,
      text: () => bytes.toString(),
      json: () => JSON.parse(String(bytes)),
    };
  }

  /** A request whose reply is read by the caller, as it arrives. */
  open(path: string, options: RequestOptions & { signal?: AbortSignal } = {}): Promise<Dispatcher.ResponseData> {
    return this.client.request({ method: 'GET', path, ...options });
  }

  /** A second connection. */
  connect(): { readonly client: Client } & AsyncDisposable {
    const client = new Client('http://hello.localhost', { socketPath: this.socket, pipelining: 1 });
    return { client, [Symbol.asyncDispose]: () => client.destroy() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.destroy();
    this.process.kill('SIGKILL');
    await this.ended;
    await rm(this.#home, { recursive: true });
  }
}

/** A claimed one: ready, or the test fails with the claim's error. */
export async function startFunction(options: BootstrapOptions): Promise<Bootstrap> {
  const instance = await Bootstrap.start(options);
  if (options.warm) await instance.health();
  const reply = await instance.claim();
  if (reply.status === 200) return instance;
  await instance[Symbol.asyncDispose]();
  throw new Error(`claim failed: ${reply.text()}`);
}

export async function writeFiles(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
}
