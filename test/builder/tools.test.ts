/** The programs of others accept our images: skopeo reads and copies them, umoci unpacks them, podman runs them, and what
 *  runs answers HTTP. With the real base layer. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { access, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BuildResult } from '../../core/queues.ts';
import { HOST } from '../../builder/base.ts';
import { validateImage } from '../../builder/oci/validate.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/free-port.ts';
import { startRegistry } from '../support/registry.ts';
import { skipBecause } from '../support/requires.ts';
import { workshop, type Workshop } from './support.ts';

const run = promisify(execFile);

/** What is missing here, or undefined. */
async function missing(program: string, alsoRoot = false): Promise<string | undefined> {
  if (alsoRoot && process.getuid?.() !== 0) return `${program} (as root)`;
  const found = await Promise.all(
    (process.env['PATH'] ?? '').split(':').map((directory) =>
      access(join(directory, program)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true) ? undefined : program;
}

let shop: Workshop;
let image: BuildResult;
/** In the index. */
let name: string;
/** `<layout>:<name>`, as the tools want it. */
let reference: string;

beforeAll(async () => {
  shop = await workshop();
  await using registry = await startRegistry([{ name: 'left', files: { 'index.js': 'module.exports = "left"' } }]);
  const files = {
    'fn.yaml': 'name: hello\nhandler: index.default\n',
    'package.json': registry.manifest,
    'package-lock.json': registry.lock,
    'index.ts': `import left from 'left';
      import { readFileSync } from 'node:fs';
      import { greeting } from './greeting.ts';
      export default { async fetch(request: Request) {
        const certificates = readFileSync('/etc/ssl/certs/ca-certificates.crt', 'utf8');
        const user = process.getuid?.();
        return Response.json({ greeting, left, user, body: await request.text(), tls: certificates.includes('BEGIN') });
      } };`,
    'greeting.ts': 'export const greeting: string = "hello";',
  };
  image = await shop.build(files, { base: HOST, env: { ...process.env, npm_config_registry: registry.url } });
  name = `hello-${image.image.slice('sha256:'.length).slice(0, 12)}`;
  reference = `${shop.store.images}:${name}`;
});
afterAll(() => shop[Symbol.asyncDispose]());

test('the image with the real base is valid', async () => {
  expect(await validateImage(shop.store.images, image.image)).toEqual([]);
  expect(image.layers.map(({ kind }) => kind)).toEqual(['base', 'deps', 'code']);
});

describe.skipIf(skipBecause(await missing('skopeo')))('skopeo', () => {
  test('inspects the image', async () => {
    const { stdout } = await run('skopeo', ['inspect', `oci:${reference}`]);
    expect(JSON.parse(stdout)).toMatchObject({
      Digest: image.image,
      Os: 'linux',
      Labels: { 'dev.fn.function': 'hello' },
      Layers: image.layers.map(({ digest }) => digest),
    });
  });

  test('copies the image to a directory without changing a byte of it', async () => {
    const target = join(shop.home.path, 'copy');
    await run('skopeo', ['--tmpdir', shop.home.path, '--insecure-policy', 'copy', `oci:${reference}`, `dir:${target}`]);
    const manifest = await readFile(join(shop.store.images, 'blobs/sha256', image.image.slice('sha256:'.length)));
    expect((await readFile(join(target, 'manifest.json'))).equals(manifest)).toBe(true);
    for (const { digest, size } of image.layers) {
      expect((await stat(join(target, digest.slice('sha256:'.length)))).size).toBe(size);
    }
  });
});

describe.skipIf(skipBecause(await missing('umoci', true)))('umoci', () => {
  test('unpacks the image', async () => {
    const bundle = join(shop.home.path, 'bundle');
    await run('umoci', ['unpack', '--image', reference, bundle]);
    const root = join(bundle, 'rootfs');
    expect((await readdir(root)).toSorted()).toEqual(
      'dev etc lib lib64 opt proc run sbin sys task tmp usr'
        .split(' ')
        .filter((name) => name !== 'lib64' || hasLib64()),
    );
    expect((await readdir(join(root, 'task'))).toSorted()).toEqual([
      'greeting.js',
      'index.js',
      'node_modules',
      'package-lock.json',
      'package.json',
    ]);
    expect((await stat(join(root, 'tmp'))).mode & 0o7777).toBe(0o1777);
    const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as { process: { cwd: string } };
    expect(config.process.cwd).toBe('/task');
  });
});

describe.skipIf(skipBecause(await missing('podman', true)))('podman', () => {
  test('runs the image, which answers HTTP on $PORT and ends when told', async () => {
    const port = await freePort();
    const own = (name: string): string => join(shop.home.path, 'podman', name);
    const podman = ['--root', own('root'), '--runroot', own('runroot'), '--tmpdir', own('tmp')];
    podman.push('--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none');
    podman.push('--runtime', 'crun', '--runtime-flag', `root=${own('crun')}`);
    const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
    const options = ['--rm', '--network', 'host', '--cgroups', 'disabled', ...limits, '--env', `PORT=${port}`];
    const [program, ...args] = [...hybridWrapper(), 'podman', ...podman, 'run', ...options, `oci:images:${name}`];
    // podman makes a name of the path, which must then be lower case: a relative one is.
    const child = spawn(program ?? 'podman', args, { cwd: shop.home.path, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'exit');
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()));
    try {
      const reply = await eventually(async () => {
        if (child.exitCode !== null) return `podman ended: ${output}`;
        const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'sent' });
        return response.json();
      }, 20_000);
      expect(reply).toEqual({ greeting: 'hello', left: 'left', user: 1000, body: 'sent', tls: true });
      child.kill('SIGTERM');
      await ended;
      // What hands the log on is a process of podman's own, and may end after it.
      await eventually(() => expect(output).toMatch(/hello listens on/));
    } finally {
      child.kill('SIGTERM');
      await ended;
      await run('podman', [...podman, 'rm', '--all', '--force', '--time', '1']).catch(() => {}); // Gone with --rm.
    }
  });
});

function hasLib64(): boolean {
  return process.arch === 'x64';
}

/** crun refuses cgroup v1 with a v2 mount beside it; in a mount namespace of its own the latter is hidden. */
function hybridWrapper(): string[] {
  if (!readFileSync('/proc/self/mounts', 'utf8').includes(' /sys/fs/cgroup/unified cgroup2 ')) return [];
  const hide = 'umount /sys/fs/cgroup/unified && mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified';
  return ['unshare', '--mount', 'sh', '-c', `mount --make-rprivate / && ${hide} && exec "$@"`, 'sh'];
}
