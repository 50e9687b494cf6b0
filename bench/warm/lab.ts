/** The contestants of bench:warm as processes: started with a clean environment, ended at the end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cleanEnvironment } from '../support/environment.ts';

const ENV = cleanEnvironment();

export class Lab implements AsyncDisposable {
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

export function nginxConfig(home: string, socket: string, pidFile: string, port: number): string {
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
