/** Not a test: a process that builds one image after the other until someone kills it. Arguments: images, cache. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildFunction } from '../../builder/build.ts';
import { prepareStore } from '../../builder/work.ts';

const [images = '', cache = ''] = process.argv.slice(2);
const store = { images, cache };
await prepareStore(store);
for (let round = 0; ; round++) {
  const directory = join(cache, `source-${process.pid}`);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'fn.yaml'), 'name: hello\nhandler: index.default\n');
  await writeFile(join(directory, 'index.js'), `${process.pid} ${round} ${'x'.repeat(100_000)}`);
  // Every round is another base: it, too, is killed in the middle.
  const runtime = new Map([['bootstrap.mjs', `${process.pid} ${round}`]]);
  const base = { node: '/bin/true', init: '/bin/true', runtime: () => runtime };
  await buildFunction({ source: { directory }, store, base, env: {}, timeout: 1000 });
  process.stdout.write('.');
}
