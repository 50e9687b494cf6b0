/** HTTPS of the whole platform: the port is opened by root, the key read by nobody, and read again when it is renewed. */

import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, rename } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform } from '../support/platform.ts';
import { lacks, notRoot, skipBecause } from '../support/requires.ts';
import { type CertificateFiles, makeCertificate } from '../gateway/support/certificates.ts';

const run = promisify(execFile);
const GATEWAY = 61_337;

test.skipIf(skipBecause(notRoot() ?? lacks('openssl') ?? lacks('curl')))(
  'the platform serves HTTPS and HTTP/2, with a certificate that is renewed while it runs, and refuses one only root may read',
  async () => {
    await using directory = await testDirectory();
    await chmod(directory.path, 0o755);
    const make = async (name: string): Promise<CertificateFiles> => {
      await mkdir(`${directory.path}/${name}`);
      const files = await makeCertificate(`${directory.path}/${name}`, name);
      await chmod(files.keyFile, 0o640);
      return files;
    };
    const one = await make('one');
    const settings = { FN_TLS_CERT: one.certFile, FN_TLS_KEY: one.keyFile, FN_TLS_PORT: '0', FN_POOL: '0' };
    await expect(startPlatform(settings)).rejects.toThrow(/FN_TLS_KEY: the gateway runs as uid 61337.* may not read/);

    await chown(one.keyFile, 0, GATEWAY);
    await using platform = await startPlatform(settings);
    await platform.deployFiles({
      'fn.yaml': 'name: proto',
      'index.js': 'module.exports = (request) => new Response(request.headers.get("x-forwarded-proto"))',
    });
    const { processes } = await platform.api.get<{ processes: { role: string; facts?: { tlsPort?: number } }[] }>(
      '/v1/status',
    );
    const port = processes.find(({ role }) => role === 'gateway')?.facts?.tlsPort;
    const curl = async (trusted: CertificateFiles): Promise<string> => {
      const options = ['-sS', '--max-time', '20', '--http2', '--cacert', trusted.certFile, '-w', ' %{http_version}'];
      return (await run('curl', [...options, `https://localhost:${port}/function/proto`])).stdout;
    };
    expect(await curl(one)).toBe('https 2');

    const two = await make('two');
    await chown(two.keyFile, 0, GATEWAY);
    await rename(two.certFile, one.certFile);
    await rename(two.keyFile, one.keyFile);
    await eventually(async () => expect(await curl(one)).toBe('https 2'));
  },
  120_000,
);
