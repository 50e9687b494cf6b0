/** An npm registry on the loopback address with the packages a test gives it, and the lock file that goes with them. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

export interface TestPackage {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
}

export interface TestRegistry extends AsyncDisposable {
  readonly url: string;
  /** Paths asked for so far. */
  readonly requests: readonly string[];
  /** package-lock.json of a package that depends on all of them. */
  readonly lock: string;
  /** Its package.json. */
  readonly manifest: string;
}

/** @param options.hang answers nothing, ever. */
export async function startRegistry(
  packages: readonly TestPackage[],
  options: { readonly hang?: boolean } = {},
): Promise<TestRegistry> {
  const version = '1.0.0';
  const archives = new Map<string, Buffer>();
  for (const { name, files, scripts, bin } of packages) {
    const archive = pack();
    const manifest = JSON.stringify({ name, version, scripts, bin });
    for (const [path, text] of Object.entries({ 'package.json': manifest, ...files })) {
      archive.entry({ name: `package/${path}`, mtime: new Date(0) }, text);
    }
    archive.finalize();
    archives.set(name, gzipSync(await buffer(archive)));
  }
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    requests.push(path);
    if (options.hang) return;
    const found = packages.find(({ name }) => path === `/${name}` || path === `/${name}.tgz`);
    const archive = found && archives.get(found.name);
    if (!found || !archive) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}');
    } else if (path.endsWith('.tgz')) {
      response.end(archive);
    } else {
      const one = {
        name: found.name,
        version,
        bin: found.bin,
        scripts: found.scripts,
        dist: distOf(found.name, archive),
      };
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ name: found.name, 'dist-tags': { latest: version }, versions: { [version]: one } }),
      );
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const distOf = (name: string, archive: Buffer) => ({
    tarball: `${url}/${name}.tgz`,
    integrity: `sha512-${createHash('sha512').update(archive).digest('base64')}`,
  });

  const dependencies = Object.fromEntries(packages.map(({ name }) => [name, version]));
  const locked = packages.map(({ name, scripts, bin }) => {
    const { tarball: resolved, integrity } = distOf(name, archives.get(name) ?? Buffer.alloc(0));
    const hasInstallScript = scripts && Object.keys(scripts).some((script) => script.endsWith('install'));
    return [
      `node_modules/${name}`,
      { version, resolved, integrity, bin, ...(hasInstallScript && { hasInstallScript }) },
    ];
  });
  const root = { name: 'f', dependencies };
  const lock = { name: 'f', lockfileVersion: 3, requires: true, packages: { '': root, ...Object.fromEntries(locked) } };
  return {
    url,
    requests,
    lock: JSON.stringify(lock),
    manifest: JSON.stringify(root),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
