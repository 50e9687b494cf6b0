/** The base layer: everything below a function. The platform's own node binary with the shared libraries it asks for, an
 *  init, the bootstrap, CA certificates and just enough of /etc for names to resolve. Made from the files of this host, so
 *  it needs no network and no image of anybody else; there is no shell and no package manager in it. 125 MB, made once:
 *  the key is the size and time of every input, the digest only depends on their bytes. */

import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { rootCertificates } from 'node:tls';
import { promisify } from 'node:util';
import { SANDBOX_RESOLVER } from '../core/egress.ts';
import { FnError } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';
import { packedRuntime } from '../runtime/node/pack.mjs';
import { type BuildStore, type BuiltLayer, cachedLayer } from './layer-cache.ts';
import { leanNode } from './node-binary.ts';
import { type LayerEntry, writeLayer } from './oci/layer.ts';

/** Where things come from on this host. */
export interface BaseParts {
  readonly node: string;
  readonly init: string;
  /** The files of /opt/fn, by name. */
  readonly runtime: () => ReadonlyMap<string, string>;
}

export const NODE_PATH = '/usr/local/bin/node';
export const INIT_PATH = '/sbin/fn-init';
export const BOOTSTRAP_PATH = '/opt/fn/bootstrap.mjs';

/** Debian, Fedora and Arch have it in the first, Alpine in the second. */
const INITS = ['/usr/bin/tini-static', '/sbin/tini-static', '/usr/local/bin/tini-static'] as const;

/** This host. */
export const HOST: BaseParts = {
  node: process.execPath,
  get init() {
    return INITS.find((path) => existsSync(path)) ?? INITS[0];
  },
  runtime: packedRuntime,
};

/** Changes when what is below changes. */
const VERSION = 2;
const LDD_WITHIN: Millis = 10_000;

/** Loaded by name at run time, or empty stand-ins that prebuilt addons of before glibc 2.34 still ask for. */
const COMPANIONS = [
  'libnss_dns.so.2',
  'libnss_files.so.2',
  'libresolv.so.2',
  'libdl.so.2',
  'libpthread.so.0',
  'librt.so.1',
  'libutil.so.1',
];

const CERTIFICATES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem'];

const ETC: Readonly<Record<string, string>> = {
  passwd:
    'root:x:0:0:root:/:/sbin/nologin\nfn:x:1000:1000:fn:/tmp:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n',
  group: 'root:x:0:\nfn:x:1000:\nnogroup:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'resolv.conf': `nameserver ${SANDBOX_RESOLVER}\n`,
};

const DIRECTORIES = ['dev', 'proc', 'run', 'sys', 'task'];

export interface BaseOptions {
  /** This host's by default. */
  readonly base?: BaseParts;
  readonly signal?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** @throws FnError machine.unsupported */
export async function baseLayer(store: BuildStore, options: BaseOptions = {}): Promise<BuiltLayer> {
  const files = await gather(options.base ?? HOST);
  const inputs = { version: VERSION, files: files.map(({ path, from, stamp }) => [path, from, stamp]) };
  return cachedLayer(store, 'base', inputs, async () => {
    options.onProgress?.('making the base layer, once for all functions');
    return writeLayer(store.images, 'base', entriesOf(await withLeanNode(files)), options.signal);
  });
}

/** A file of the layer: a file of the host, or text of ours. */
interface Part {
  readonly path: string;
  readonly executable: boolean;
  /** Host path, or where the text is from. */
  readonly from: string;
  /** Tells whether it changed. */
  readonly stamp: string;
  readonly content: Extract<LayerEntry, { type: 'file' }>['content'];
}

async function withLeanNode(files: readonly Part[]): Promise<Part[]> {
  return Promise.all(
    files.map(async (part) => {
      if (part.path !== NODE_PATH || part.content instanceof Uint8Array) return part;
      return { ...part, content: { ...part.content, change: await leanNode(part.from) } };
    }),
  );
}

async function gather({ node, init, runtime }: BaseParts): Promise<Part[]> {
  const binary = await realpath(node);
  const libraries = await librariesOf(binary);
  const bootstrap = [...runtime()].map(([path, text]) => ownFile(`/opt/fn/${path}`, Buffer.from(text)));
  const own = Object.entries(ETC).map(([name, text]) => ownFile(`/etc/${name}`, Buffer.from(text)));
  const fromHost = await Promise.all([
    hostFile(NODE_PATH, binary, true),
    hostFile(INIT_PATH, init, true).catch((cause: unknown) => {
      throw new FnError('machine.unsupported', `${init} is missing: sandboxes need a small static init`, {
        hint: 'apt-get install tini (Arch: tini; Fedora, Alpine: tini-static).',
        cause,
      });
    }),
    ...libraries.map((path) => hostFile(path, path, true)),
    certificates(),
  ]);
  return [...fromHost, ...bootstrap, ...own];
}

async function hostFile(path: string, from: string, executable: boolean): Promise<Part> {
  const { size, mtimeMs } = await stat(from);
  return { path, from, executable, stamp: `${size} ${mtimeMs}`, content: { file: from, size } };
}

function ownFile(path: string, bytes: Buffer): Part {
  return { path, from: 'fn', executable: false, stamp: hash('sha256', bytes), content: bytes };
}

/** The host's, since it may trust an authority of its own; else the ones node was built with. */
async function certificates(): Promise<Part> {
  const path = '/etc/ssl/certs/ca-certificates.crt';
  for (const from of CERTIFICATES) {
    const found = await hostFile(path, from, false).catch(() => undefined); // Another distribution's place.
    if (found) return found;
  }
  return ownFile(path, Buffer.from(`${rootCertificates.join('\n')}\n`));
}

const known = new Map<string, string[]>();

/** Host paths of the shared libraries, the loader among them. In the image they lie at the same paths, since the loader
 *  searches the directories it was compiled with. */
async function librariesOf(binary: string): Promise<string[]> {
  // Libraries change with a system update, which rewrites the loader's cache.
  const stamps = await Promise.all([binary, '/etc/ld.so.cache'].map((path) => stat(path).catch(() => undefined)));
  const key = JSON.stringify([binary, ...stamps.map((found) => found?.mtimeMs)]);
  let found = known.get(key);
  if (!found) known.set(key, (found = await askLoader(binary)));
  return found;
}

async function askLoader(binary: string): Promise<string[]> {
  let listing: string;
  try {
    ({ stdout: listing } = await promisify(execFile)('ldd', [binary], {
      timeout: LDD_WITHIN,
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    }));
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string };
    if (/not a dynamic executable|statically linked/i.test(stdout + stderr)) return [];
    throw new FnError('machine.unsupported', `ldd cannot tell the libraries of ${binary}: ${stderr.trim()}`, { cause });
  }
  const missing = /^\s*(\S+) => not found/m.exec(listing)?.[1];
  if (missing !== undefined) throw new FnError('machine.unsupported', `${binary} needs ${missing}, which is not there`);
  const paths = [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].flatMap((match) => match[1] ?? []);
  const libc = paths.find((path) => basename(path).startsWith('libc.so'));
  const companions = libc === undefined ? [] : COMPANIONS.map((name) => join(dirname(libc), name));
  const there = await Promise.all(
    companions.map((path) =>
      stat(path).then(
        () => path,
        () => '',
      ),
    ),
  );
  return [...new Set([...paths, ...there].filter((path) => path !== '').map((path) => posix.normalize(path)))];
}

function entriesOf(files: readonly Part[]): LayerEntry[] {
  return [
    ...files.map(({ path, executable, content }): LayerEntry => ({
      type: 'file',
      path: path.slice(1),
      executable,
      content,
    })),
    ...DIRECTORIES.map((path): LayerEntry => ({ type: 'directory', path })),
    { type: 'directory', path: 'tmp', mode: 0o1777 },
  ];
}
