import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ORPHANS = fileURLToPath(new URL('../../worker/orphans.ts', import.meta.url));
const NATIVE = fileURLToPath(new URL('../../worker/native.ts', import.meta.url));

/** In a process of its own: a subreaper adopts whatever its descendants leave, and the test runner must not. */
const SCRIPT = `
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { becomeSubreaper } from ${JSON.stringify(NATIVE)};
import { Orphans } from ${JSON.stringify(ORPHANS)};
becomeSubreaper();
// The shell ends at once and leaves two children that end a little later.
const shell = spawn('sh', ['-c', '(sleep 0.05 &) ; (sleep 0.05 &)'], { stdio: 'ignore' });
const [code] = await once(shell, 'exit');
const isEnded = (pid) => {
  try {
    const [, state, parent] = /\\) (.) (\\d+) /.exec(readFileSync('/proc/' + pid + '/stat', 'latin1')) ?? [];
    return state === 'Z' && Number(parent) === process.pid;
  } catch {
    return false; // Not ours, and gone.
  }
};
while (readdirSync('/proc').filter(isEnded).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
const orphans = new Orphans();
const first = orphans.collect();
const own = spawn('true');
const second = orphans.collect();
const [ownCode] = await once(own, 'exit');
console.log(JSON.stringify({ code, first, second, third: orphans.collect(), ownCode }));
`;

test('what the OCI runtimes leave behind is collected, and children of node are not touched', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  await once(child, 'exit');
  expect(JSON.parse(text)).toEqual({ code: 0, first: 0, second: 2, third: 0, ownCode: 0 });
});
