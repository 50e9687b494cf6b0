/** The entry of the packed bootstrap: runs bootstrap.js with what V8 made of it beside it, bootstrap.code, when there is
 *  such a file and it fits. Until a sandbox has answered its first call it compiles 150 functions of ours otherwise, which is 3.5 of
 *  42 ms of its processor time. The worker makes that file once for each base layer, in a sandbox of its own (worker/pool.ts). */

const { readFileSync } = process.getBuiltinModule('node:fs');
const { Script } = process.getBuiltinModule('node:vm');

const directory = import.meta.dirname;
const filename = new URL('bootstrap.js', import.meta.url).href;

/** @param {string} name */
function readIfThere(name) {
  try {
    return readFileSync(`${directory}/${name}`);
  } catch {
    return undefined; // None was made yet, or none can be.
  }
}

const cachedData = readIfThere('bootstrap.code');
const script = new Script(readFileSync(`${directory}/bootstrap.js`, 'utf8'), {
  filename,
  ...(cachedData && { cachedData }),
});
script.runInThisContext()((/** @type {string} */ specifier) => import(specifier), filename, {
  isUsed: script.cachedDataRejected === false,
  make: () => script.createCachedData(),
});
