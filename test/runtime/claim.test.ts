import { expect, test } from 'vitest';
import { Bootstrap, type BootstrapOptions, startFunction, BROKEN } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

interface ClaimError {
  readonly error: { readonly name: string; readonly message: string; readonly stack: string; readonly kind: string };
}

/** Claims a sandbox that must refuse; checks that it ends, too. */
async function refusal(options: BootstrapOptions): Promise<ClaimError['error'] & { logged: string }> {
  await using sandbox = await Bootstrap.start(options);
  const reply = await sandbox.claim();
  expect(reply.status).toBe(500);
  expect(await sandbox.ended).toBe(1);
  return { ...(reply.json() as ClaimError).error, logged: sandbox.stderr };
}

/** Says that it loads, and has loaded when it gets a SIGUSR2. */
const SLOW = `const go = new Promise((resolve) => process.once('SIGUSR2', resolve));
  console.log('loading'); await go;
  export default (request) => new Response(request.url + ' ' + (request.headers.get('x-fn-deadline') - Date.now()));`;

test('what comes before the claim waits for the function', async () => {
  await using sandbox = await Bootstrap.start({
    files: { 'index.mjs': 'export default (request) => new Response(new URL(request.url).pathname)' },
  });
  expect((await sandbox.health()).json()).toEqual({ claimed: false, compiled: false });
  await using other = sandbox.connect();
  const early = other.client.request({ method: 'GET', path: '/early' });
  expect((await sandbox.claim()).status).toBe(200);
  expect(await (await early).body.text()).toBe('/early');
});

test('a call that looks like the claim and comes before it is a call', async () => {
  const index = (who: string): string =>
    `export default (request) => new Response('${who} ' + process.env.WHO + ' ' + new URL(request.url).pathname)`;
  await using sandbox = await Bootstrap.start({
    files: { 'index.mjs': index('index'), 'other.mjs': index('other') },
    env: { WHO: 'worker' },
  });
  await sandbox.health();
  await using other = sandbox.connect();
  const body = JSON.stringify({ handler: 'other.default', env: { WHO: 'caller' }, function: 'hello', timeoutMs: 1 });
  const claim = other.client.request({ method: 'POST', path: '/_fn/claim', body });
  await using third = sandbox.connect();
  const health = third.client.request({ method: 'GET', path: '/_fn/health' });
  await sandbox.health(); // Those are inside.
  expect((await sandbox.claim()).json()).toMatchObject({ ready: true });
  expect(await (await claim).body.text()).toBe('index worker /_fn/claim');
  expect(await (await health).body.text()).toBe('index worker /_fn/health');
});

test('the claim sets the environment, enters the directory and loads the handler', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `const { GREETING, FN_FUNCTION, FN_REVISION, FN_INSTANCE } = process.env;
        export default () => Response.json([GREETING, process.cwd(), FN_FUNCTION, FN_REVISION, FN_INSTANCE])`,
    },
    env: { GREETING: 'hi' },
  });
  const reply = await fn.request('/');
  expect(reply.json()).toEqual(['hi', expect.stringMatching(/\/task$/), 'hello', 'hello-00001', 'hello-01234567']);
});

test('a claim is answered with the time it took', async () => {
  await using sandbox = await Bootstrap.start({ files: { 'index.mjs': 'export default () => new Response()' } });
  expect((await sandbox.claim()).json()).toEqual({ ready: true, ms: expect.any(Number) });
});

test('after the claim every path is the function’s, a second claim too', async () => {
  await using fn = await startFunction({
    files: { 'index.mjs': 'export default (request) => new Response(`function: ${new URL(request.url).pathname}`)' },
  });
  expect((await fn.request('/_fn/health')).text()).toBe('function: /_fn/health');
  expect((await fn.claim()).text()).toBe('function: /_fn/claim');
});

test('what comes while it loads waits for it, and has its whole time from then on', async () => {
  await using sandbox = await Bootstrap.start({ files: { 'index.mjs': SLOW }, timeoutMs: 30_000 });
  await sandbox.health();
  const claimed = sandbox.claim();
  await eventually(() => expect(sandbox.stdout).toContain('loading'));
  await using other = sandbox.connect();
  const headers = ['x-a', 'x-fn-deadline', 'x-fn-deadline', String(Date.now() + 20_000)];
  const early = other.client.request({ method: 'POST', path: '/_fn/claim', headers });
  sandbox.process.kill('SIGUSR2');
  expect((await claimed).status).toBe(200);
  const [url, left] = (await (await early).body.text()).split(' ');
  expect(url).toContain('/_fn/claim');
  expect(Number(left)).toBeGreaterThan(20_000);
});

test('what was given up while it loaded is not served', async () => {
  await using sandbox = await Bootstrap.start({ files: { 'index.mjs': SLOW } });
  await sandbox.health();
  const claimed = sandbox.claim();
  await eventually(() => expect(sandbox.stdout).toContain('loading'));
  await using other = sandbox.connect();
  const late = other.client.request({ method: 'GET', path: '/', headers: { 'x-fn-deadline': String(Date.now()) } });
  late.catch(() => {}); // Looked at below.
  sandbox.process.kill('SIGUSR2');
  expect((await claimed).status).toBe(200);
  await expect(late).rejects.toThrow(BROKEN);
});

test.each([
  ['an ES module', 'index.mjs', 'export default () => new Response("ok")'],
  ['a module with top-level await', 'index.mjs', 'await null; export default () => new Response("ok")'],
  ['a CommonJS function', 'index.cjs', 'module.exports = (req, res) => res.end("ok")'],
  ['a CommonJS export', 'index.cjs', 'exports.default = () => new Response("ok")'],
  ['a CommonJS object with fetch', 'index.js', 'module.exports = { fetch: () => new Response("ok") }'],
  [
    'CommonJS compiled from an ES module',
    'index.js',
    'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = () => new Response("ok")',
  ],
  [
    'a named export `handler` where there is no default',
    'index.mjs',
    'export const handler = () => ({ statusCode: 200, body: "ok" })',
  ],
  [
    'a default object with handler in CommonJS',
    'index.cjs',
    'exports.handler = async () => ({ statusCode: 200, body: "ok" })',
  ],
])('loads %s', async (_, file, source) => {
  await using fn = await startFunction({ files: { [file]: source } });
  expect((await fn.request('/')).text()).toBe('ok');
});

test('a handler in a subdirectory, with any name', async () => {
  await using fn = await startFunction({
    files: { 'src/main.mjs': 'export const app = { fetch: () => new Response("ok") }' },
    handler: 'src/main.app',
  });
  expect((await fn.request('/')).text()).toBe('ok');
});

test('without the file the handler is missing, and the error says which file it looked for', async () => {
  const { kind, message, logged } = await refusal({ files: {}, handler: 'main.run' });
  expect(kind).toBe('missing');
  expect(message).toBe('handler "main.run" needs one of main.js, main.mjs, main.cjs; there is none');
  expect(logged).toContain(message);
});

test('without the export the handler is missing, and the error lists what there is', async () => {
  const { kind, message } = await refusal({
    files: { 'index.mjs': 'export const a = 1, b = 2' },
    handler: 'index.run',
  });
  expect(kind).toBe('missing');
  expect(message).toBe('index.mjs has no export "run"; it exports a, b');
});

test('an export that cannot be called is missing', async () => {
  const { kind, message } = await refusal({ files: { 'index.mjs': 'export default 42' } });
  expect(kind).toBe('missing');
  expect(message).toBe('the export "default" of index.mjs is neither a function nor an object with fetch()');
});

test('an error while loading comes with its place in the function’s directory and its cause, without our frames', async () => {
  const { kind, name, message, stack, logged } = await refusal({
    files: {
      'index.mjs': 'import "./lib/boom.mjs"; export default () => {}',
      'lib/boom.mjs': '\n\nthrow new RangeError("boom", { cause: new Error("the reason") })',
    },
  });
  expect({ kind, name, message }).toEqual({ kind: 'load', name: 'RangeError', message: 'boom' });
  expect(stack).toMatch(/^RangeError: boom\n\s+at lib\/boom\.mjs:3:7/);
  expect(stack).toContain('[cause]: Error: the reason');
  expect(stack).not.toMatch(/node:internal|load\.mjs|\/task\//);
  expect(logged).toContain(stack);
});

test('what is thrown need not be an error', async () => {
  const { name, message } = await refusal({ files: { 'index.mjs': 'throw "just text"' } });
  expect({ name, message }).toEqual({ name: 'string', message: 'just text' });
});

test('a dependency that is not installed is named', async () => {
  const { kind, message } = await refusal({ files: { 'index.mjs': 'import "left-pad"; export default () => {}' } });
  expect(kind).toBe('load');
  expect(message).toMatch(/^Cannot find package 'left-pad' imported from .*index\.mjs$/);
});

test.each(['mjs', 'cjs'])('a syntax error in a .%s file comes with its line', async (suffix) => {
  const { name, stack } = await refusal({ files: { [`index.${suffix}`]: 'const fine = 1;\nconst broken = ;\n' } });
  expect(name).toBe('SyntaxError');
  expect(stack).toContain(`index.${suffix}:2\nconst broken = ;\n`);
  expect(stack).toContain("SyntaxError: Unexpected token ';'");
});

test('process.exit while loading ends the sandbox without an answer', async () => {
  await using sandbox = await Bootstrap.start({ files: { 'index.mjs': 'process.exit(3)' } });
  await expect(sandbox.claim()).rejects.toThrow(BROKEN);
  expect(await sandbox.ended).toBe(3);
});
