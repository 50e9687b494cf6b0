/** nginx as a second opinion: the same function behind it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { eventually } from '../../support/eventually.ts';
import { wire } from './wire.ts';

export interface Nginx extends AsyncDisposable {
  readonly port: number;
}

/** Passes everything on to the unix socket, paths as they came. */
export async function startNginx(directory: string, socket: string): Promise<Nginx> {
  const finder = createServer().listen(0, '127.0.0.1');
  await once(finder, 'listening');
  const { port } = finder.address() as AddressInfo;
  finder.close();
  await once(finder, 'close');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(directory, `n-${kind}`)};`,
  );
  const config = join(directory, 'nginx.conf');
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  await writeFile(
    config,
    `${user} worker_processes 1; daemon off; pid ${join(directory, 'nginx.pid')}; error_log /dev/null;
    events {}
    http {
      access_log off; ${temporary.join(' ')}
      upstream function { server unix:${socket}; }
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://function; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
      }
    }`,
  );
  const nginx = spawn('nginx', ['-c', config], { stdio: 'ignore' });
  await eventually(async () => (await wire(port))[Symbol.asyncDispose]());
  return {
    port,
    async [Symbol.asyncDispose]() {
      const gone = once(nginx, 'exit');
      if (nginx.kill('SIGTERM')) await gone;
    },
  };
}
