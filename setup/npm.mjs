/** How to run npm: through the file of the npm that started us, with a Node of our choice; else as a program. */

import { existsSync } from 'node:fs';

/** @param {string} node @returns {string[]} */
export function npmCommand(node = process.execPath) {
  const file = process.env['npm_execpath'];
  return file?.endsWith('npm-cli.js') && existsSync(file) ? [node, file] : ['npm'];
}
