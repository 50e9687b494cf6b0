/** Set-up for a clone: `npm start`, `npm test` and `npm run bench` begin here. Brings the machine to where the rest can run
 *  (Node, Debian packages, npm packages), skips whatever is already there, says what it does and why, then hands over.
 *  Plain JavaScript for Node 20 and newer: it runs before anything is installed. */

import { installDependencies } from './dependencies.mjs';
import { fail, SetupError } from './failure.mjs';
import { ensureNode } from './node.mjs';
import { ensurePackages, missingFor } from './packages.mjs';
import { canSudo, isRoot } from './root.mjs';
import { runBench, runServer, runTests } from './run.mjs';

/** @import { Purpose, Requirement } from './table.mjs' */

/** @param {string | undefined} text @returns {Purpose} */
function parsePurpose(text) {
  if (text === 'start' || text === 'test' || text === 'bench') return text;
  throw new SetupError(`unknown command "${text ?? ''}"`, 'npm start, npm test or npm run bench');
}

/** @param {readonly Requirement[]} missing */
function needsRoot(missing) {
  const also = missing.length === 0 ? '' : `; also missing here: ${missing.map((one) => one.package).join(', ')}`;
  return new SetupError(`making containers and cgroups needs root${also}`, 'sudo npm start');
}

/** @param {readonly string[]} argv @returns {Promise<number>} the exit code */
async function main([command, ...rest]) {
  const purpose = parsePurpose(command);
  if (process.platform !== 'linux') {
    throw new SetupError(`fn runs on Linux; this is ${process.platform}`, 'Use a Linux machine or virtual machine.');
  }
  if (purpose === 'start' && !isRoot() && !canSudo()) throw needsRoot(missingFor('start'));
  await ensurePackages(purpose);
  const node = await ensureNode();
  await installDependencies(node);
  if (!isRoot() && purpose !== 'start') {
    console.log(
      'Not root: whatever makes containers is skipped. For all of it: sudo npm ' +
        (purpose === 'test' ? 'test' : 'run bench'),
    );
  }
  if (purpose === 'start') return runServer(rest);
  return purpose === 'test' ? runTests(node, rest) : runBench(node, rest);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = fail(error);
}
