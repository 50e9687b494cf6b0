/** Looks for programs where they can be: on PATH, and in the sbin directories that a user's PATH often lacks. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** @param {string} name @param {NodeJS.ProcessEnv} env @returns {string | undefined} its path */
export function findProgram(name, env = process.env) {
  const directories = [...(env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const directory of directories.filter(Boolean)) {
    const file = join(directory, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here; look on.
    }
  }
  return undefined;
}
