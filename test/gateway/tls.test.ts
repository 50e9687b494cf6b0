import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Agent, request } from 'undici';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../core/config.ts';
import { silentLog } from '../../core/log.ts';
import { listenTcp } from '../../core/sockets.ts';
import { Certificate } from '../../gateway/certificate.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { lacks, notRoot, skipBecause } from '../support/requires.ts';
import { thrownBy } from '../support/thrown.ts';
import { type CertificateFiles, makeCertificate } from './support/certificates.ts';
import { startPlatform } from './support/platform.ts';
import { wire } from './support/wire.ts';

/** A gateway with a TLS port whose files are looked at all the time. */
async function startTls(patience = {}) {
  const platform = await startPlatform({}, { patience });
  const directory = platform.config.home;
  const made = await makeCertificate(directory, 'one');
  const files: CertificateFiles = {
    ...made,
    certFile: join(directory, 'tls.crt'),
    keyFile: join(directory, 'tls.key'),
  };
  await writeFile(files.certFile, files.cert);
  await writeFile(files.keyFile, files.key);
  const certificate = new Certificate({ ...files, log: silentLog, metrics: platform.metrics, lookEvery: 10 });
  const { fd, port } = await listenTcp('127.0.0.1', 0);
  await platform.gateway.listenTls(fd, certificate);
  return {
    platform,
    directory,
    files,
    port,
    url: `https://localhost:${port}`,
    /** A TLS connection of its own; its certificate is not looked at. */
    async connect(options: object = {}): Promise<TLSSocket> {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
      await once(socket, 'secureConnect');
      return socket;
    },
    async name(): Promise<string> {
      const socket = await this.connect();
      const { CN } = socket.getPeerCertificate().subject;
      socket.destroy();
      return String(CN);
    },
    async reloads(): Promise<string[]> {
      return (await platform.metrics.text()).split('\n').filter((line) => line.startsWith('fn_tls_reloads_total{'));
    },
    async [Symbol.asyncDispose]() {
      certificate[Symbol.dispose]();
      await platform[Symbol.asyncDispose]();
    },
  };
}

/** @param pipelining 0: a connection for each request. */
function agentOf(connect: object, pipelining = 1) {
  const agent = new Agent({ connect, pipelining });
  return { agent, [Symbol.asyncDispose]: () => agent.destroy() };
}

describe.skipIf(skipBecause(lacks('openssl')))('the TLS port', () => {
  it('serves what the other port serves, and says https to the function', async () => {
    await using tls = await startTls();
    let headers: Record<string, unknown> = {};
    await tls.platform.run({ name: 'echo' }, (incoming, response) => {
      headers = incoming.headers;
      incoming.pipe(response);
    });
    await using client = agentOf({ ca: tls.files.cert, servername: 'localhost' });
    const body = Buffer.alloc(3_000_000, 'x');
    const reply = await request(`${tls.url}/function/echo`, { method: 'POST', body, dispatcher: client.agent });
    expect(Buffer.from(await reply.body.arrayBuffer()).equals(body)).toBe(true);
    expect(headers).toMatchObject({
      'x-forwarded-proto': 'https',
      'x-forwarded-for': '127.0.0.1',
      forwarded: `for=127.0.0.1;proto=https;host="localhost:${tls.port}"`,
    });
  });

  it('speaks TLS 1.2 and 1.3, and nothing older', async () => {
    await using tls = await startTls();
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await tls.connect({ minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(version);
      socket.destroy();
    }
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await expect(tls.connect(old)).rejects.toThrow(/alert|version/i);
  });

  it('agrees on a protocol it speaks, or refuses', async () => {
    await using tls = await startTls();
    const plain = await tls.connect({ ALPNProtocols: ['http/1.1'] });
    expect(plain.alpnProtocol).toBe('http/1.1');
    plain.destroy();
    await expect(tls.connect({ ALPNProtocols: ['spdy/3'] })).rejects.toThrow(/no application protocol/i);
  });

  it('takes pipelined requests as the other port does', async () => {
    await using tls = await startTls();
    await tls.platform.run({ name: 'fine' }, (_incoming, response) => response.end('ok'));
    const socket = await tls.connect();
    let text = '';
    socket.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
    const line = 'GET /function/fine HTTP/1.1\r\nHost: a\r\n';
    socket.write(`${line}\r\n${line}\r\n${line}Connection: close\r\n\r\n`);
    await once(socket, 'end');
    socket.destroy();
    expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(3);
  });

  it('carries a WebSocket', async () => {
    await using tls = await startTls();
    const instance = await tls.platform.serveRaw('ws', (socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
        socket.pipe(socket);
      });
    });
    await tls.platform.route(instance, await tls.platform.deploy({ name: 'ws' }));
    const socket = await tls.connect();
    let text = '';
    socket.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
    socket.write('GET /function/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await eventually(() => expect(text).toMatch(/^HTTP\/1\.1 101 [^]*\r\n\r\n/));
    socket.write('\x81~hi', 'latin1');
    await eventually(() => expect(text).toMatch(/\x81~hi$/));
    socket.destroy();
    await eventually(() => expect(tls.platform.gateway.facts()['inFlight']).toBe(0));
  });

  it('cuts half a reply without saying that TLS ends', async () => {
    await using tls = await startTls();
    await tls.platform.run({ name: 'half' }, (_incoming, response) => {
      response.write('half');
      setImmediate(() => response.socket?.destroy());
    });
    const outcome = await new Promise<string>((resolve) => {
      const outgoing = httpsRequest(`${tls.url}/function/half`, { ca: tls.files.cert }, (reply) => {
        reply.resume().on('end', () => resolve('whole'));
        reply.on('error', (error) => resolve(error.message));
      });
      outgoing.on('error', (error) => resolve(error.message)).end();
    });
    expect(outcome).not.toBe('whole');
  });

  it('bears clients that speak no TLS, or stop in the middle of the handshake', async () => {
    await using tls = await startTls({ head: 300 });
    await using client = await wire(tls.port);
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.end()).not.toContain('HTTP/1.1');
    const silent = connectTcp(tls.port, '127.0.0.1').on('error', () => {});
    await once(silent, 'connect');
    silent.write(Buffer.from([0x16, 0x03, 0x01])); // The beginning of a ClientHello.
    await once(silent.resume(), 'close');
    expect(await tls.name()).toBe('one');
  });
});

describe.skipIf(skipBecause(lacks('openssl')))('a renewed certificate', () => {
  it('is used for new connections, however the files were replaced, and no request is lost', async () => {
    await using tls = await startTls();
    await tls.platform.run({ name: 'fine', concurrency: 50 }, (_incoming, response) => response.end('ok'));
    const { certFile, keyFile } = tls.files;
    const over = new AbortController();
    const failures: unknown[] = [];
    let served = 0;
    const client = async (connection: 'keep' | 'new'): Promise<void> => {
      await using keeping = agentOf({ rejectUnauthorized: false }, connection === 'keep' ? 1 : 0);
      while (!over.signal.aborted) {
        try {
          const reply = await request(`${tls.url}/function/fine`, { dispatcher: keeping.agent });
          if ((await reply.body.text()) !== 'ok') throw new Error(`status ${reply.statusCode}`);
          served++;
        } catch (error) {
          failures.push(error);
        }
      }
    };
    const clients = [client('keep'), client('keep'), client('new'), client('new')];
    const { certFile: two, keyFile: twoKey } = await makeCertificate(tls.directory, 'two');
    await rename(two, certFile);
    await rename(twoKey, keyFile);
    await eventually(async () => expect(await tls.name()).toBe('two'));

    const three = await makeCertificate(tls.directory, 'three');
    await writeFile(certFile, three.cert);
    await writeFile(keyFile, three.key);
    await eventually(async () => expect(await tls.name()).toBe('three'));

    const four = await makeCertificate(tls.directory, 'four');
    await Promise.all([rm(certFile), rm(keyFile)]);
    await symlink(four.certFile, certFile);
    await symlink(four.keyFile, keyFile);
    await eventually(async () => expect(await tls.name()).toBe('four'));

    const before = served;
    await eventually(() => expect(served).toBeGreaterThan(before + 20));
    over.abort();
    await Promise.all(clients);
    expect(failures).toEqual([]);
    expect(await tls.reloads()).toContain('fn_tls_reloads_total{outcome="loaded"} 3');
  });

  it.each<readonly [string, (files: CertificateFiles, next: CertificateFiles) => Promise<void>]>([
    ['does not fit the key', (files, next) => copyFile(next.certFile, files.certFile)],
    ['is half-written', (files, next) => writeFile(files.certFile, next.cert.slice(0, 300))],
    ['has no key', (files) => rm(files.keyFile)],
    ['is empty', (files) => writeFile(files.certFile, '')],
  ])('that %s is refused once, and the one before stays', async (_what, spoil) => {
    await using tls = await startTls();
    const next = await makeCertificate(tls.directory, 'next');
    await spoil(tls.files, next);
    await eventually(async () => expect(await tls.reloads()).toEqual(['fn_tls_reloads_total{outcome="refused"} 1']));
    expect(await tls.name()).toBe('one');
    await copyFile(next.certFile, tls.files.certFile);
    await copyFile(next.keyFile, tls.files.keyFile);
    await eventually(async () => expect(await tls.name()).toBe('next'));
  });

  it('says in a metric when it ends', async () => {
    await using tls = await startTls();
    const seconds = Number(
      /^fn_tls_certificate_expiry_timestamp_seconds (\d+)/m.exec(await tls.platform.metrics.text())?.[1],
    );
    expect(Math.round((seconds - Date.now() / 1000) / 3600)).toBe(48);
  });
});

describe.skipIf(skipBecause(lacks('openssl')))('a certificate that cannot be used', () => {
  it('is refused at the start, with what to do about it', async () => {
    await using directory = await testDirectory();
    const { certFile, keyFile } = await makeCertificate(directory.path, 'one');
    const other = await makeCertificate(directory.path, 'other');
    await directory.write({ 'no.pem': 'nothing', 'big.pem': 'x'.repeat(2 ** 20 + 1) });
    const file = (name: string): string => join(directory.path, name);
    const refusal = async (cert: string, key: string): Promise<string> => {
      await using platform = await startPlatform();
      const open = (): Certificate =>
        new Certificate({ certFile: cert, keyFile: key, log: silentLog, metrics: platform.metrics });
      const { code, message } = thrownBy(open);
      return `${code}: ${message.replaceAll(`${directory.path}/`, '')}`;
    };
    expect(await refusal(file('absent'), keyFile)).toBe('tls.unusable: FN_TLS_CERT: there is no file absent');
    expect(await refusal(certFile, file('absent'))).toBe('tls.unusable: FN_TLS_KEY: there is no file absent');
    expect(await refusal(file('no.pem'), keyFile)).toContain('FN_TLS_CERT: no.pem is not a certificate in PEM form');
    expect(await refusal(certFile, file('no.pem'))).toContain('FN_TLS_KEY: no.pem is not a private key');
    expect(await refusal(file('big.pem'), keyFile)).toContain('1048577 bytes');
    expect(await refusal(directory.path, keyFile)).toContain('EISDIR');
    expect(await refusal(certFile, other.keyFile)).toContain('other.key does not belong to the certificate in one.crt');
  });

  it.skipIf(skipBecause(notRoot()))(
    'is refused when only root may read it, since the gateway gives that up',
    async () => {
      await using directory = await testDirectory();
      const { certFile, keyFile } = await makeCertificate(directory.path, 'one');
      await chmod(directory.path, 0o755);
      const program = `
      import { Certificate } from ${JSON.stringify(new URL('../../gateway/certificate.ts', import.meta.url).href)};
      import { Metrics } from ${JSON.stringify(new URL('../../core/metrics.ts', import.meta.url).href)};
      import { silentLog } from ${JSON.stringify(new URL('../../core/log.ts', import.meta.url).href)};
      process.setgroups([]); process.setgid(61337); process.setuid(61337);
      const [certFile, keyFile] = process.argv.slice(1);
      const open = () => new Certificate({ certFile, keyFile, log: silentLog, metrics: new Metrics() });
      try { open()[Symbol.dispose](); console.log('read'); }
      catch (error) { console.log(error.message + ' | ' + error.hint); }`;
      const read = async (): Promise<string> => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', program, certFile, keyFile], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        let text = '';
        child.stdout.on('data', (chunk: Buffer) => void (text += chunk.toString()));
        await once(child, 'close');
        return text.trim();
      };
      await chmod(certFile, 0o644);
      await chmod(keyFile, 0o600);
      expect(await read()).toMatch(
        /FN_TLS_KEY: the gateway runs as uid 61337, gid 61337 and may not read .*one\.key \| .*FN_GATEWAY_UID/,
      );
      await chmod(keyFile, 0o640); // root's group: of no use either, the gateway is in no other group.
      expect(await read()).toContain('may not read');
      await chmod(keyFile, 0o644);
      expect(await read()).toBe('read');
    },
  );

  it('is refused when only half of it is named', () => {
    const error = thrownBy(() => loadConfig({ FN_TLS_CERT: '/etc/tls.crt' }));
    expect([error.code, error.message]).toEqual([
      'usage.invalid',
      'FN_TLS_KEY must be set as well, since FN_TLS_CERT is',
    ]);
    expect(thrownBy(() => loadConfig({ FN_TLS_KEY: 'x' })).message).toContain('FN_TLS_CERT must be set as well');
    expect(loadConfig({ FN_TLS_CERT: 'a.crt', FN_TLS_KEY: '/b.key' })).toMatchObject({
      tlsCert: join(process.cwd(), 'a.crt'),
      tlsKey: '/b.key',
      tlsPort: 8443,
    });
  });
});
