/** Finds where a syntax error is. V8 tells only those who print the error and exit (the stack of an ES module's syntax
 *  error names no file), so a child process does that. Nothing of the module runs: parsing comes first. */

const { execFile } = process.getBuiltinModule('node:child_process');

const WITHIN_MS = 5000;

/** Puts file, line and a frame of the code in front of the error's stack, where they are missing.
 *  @param {SyntaxError} error @param {string} path @returns {Promise<void>} */
export function locate(error, path) {
  const script = `import ${JSON.stringify(`file://${path}`)}`;
  const stack = error.stack ?? String(error);
  if (!stack.startsWith('SyntaxError')) return Promise.resolve(); // CommonJS: it is there already.
  return new Promise((resolve) => {
    const args = ['--input-type=module', '--eval', script];
    execFile(process.execPath, args, { timeout: WITHIN_MS }, (_, __, printed) => {
      const at = printed.indexOf('\nSyntaxError');
      if (at > 0) error.stack = `${printed.slice(0, at).trim()}\n\n${stack}`;
      resolve();
    });
  });
}
