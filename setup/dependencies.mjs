/** `npm ci`, unless node_modules already holds what package-lock.json says. */

import { readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { SetupError } from './failure.mjs';
import { ROOT } from './node.mjs';
import { npmCommand } from './npm.mjs';
import { runQuietly } from './quietly.mjs';

/** @typedef {{ version?: string, integrity?: string, optional?: boolean }} Entry */
/** @typedef {{ packages?: Record<string, Entry> }} LockFile */

/** @param {string} node the Node that packages' install scripts shall run on */
export async function installDependencies(node) {
  const wanted = read(join(ROOT, 'package-lock.json'));
  const found = read(join(ROOT, 'node_modules', '.package-lock.json'));
  const difference = wanted && found ? differenceOf(wanted, found) : 'there are none yet';
  if (difference === undefined) return;
  console.log(`Installing npm packages: ${difference}`);
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}` };
  const failed = await runQuietly('npm ci', [...npmCommand(node), 'ci', '--no-audit', '--no-fund'], { cwd: ROOT, env });
  if (failed) throw new SetupError(`npm ci failed:\n${failed}`, `Try it by hand: cd '${ROOT}' && npm ci`);
}

/** What npm notes in node_modules/.package-lock.json against what is wanted. Optional packages may be absent: they are for
 *  other systems.
 *  @param {LockFile} wanted @param {LockFile} found @returns {string | undefined} why they are not the same */
export function differenceOf(wanted, found) {
  const have = found.packages ?? {};
  for (const [path, entry] of Object.entries(wanted.packages ?? {})) {
    if (path === '') continue;
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const other = have[path];
    if (!other) {
      if (entry.optional) continue;
      return `${name} is missing`;
    }
    if (other.version !== entry.version || other.integrity !== entry.integrity) return `${name} has changed`;
  }
  const extra = Object.keys(have).find((path) => !wanted.packages?.[path]);
  return extra === undefined ? undefined : `${extra} is no longer wanted`;
}

/** @param {string} file @returns {LockFile | undefined} */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined; // Not there, or cut short: install again.
  }
}
