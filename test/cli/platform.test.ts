import { chmod, copyFile, cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AliasSummary } from '../../controller/api/aliases.ts';
import type { FunctionDetail, FunctionSummary, Status } from '../../controller/api/schemas.ts';
import { readContext } from '../../core/context.ts';
import type { LogLine } from '../../core/logs.ts';
import type { Problem } from '../../core/errors.ts';
import { startFn } from '../support/command.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { lintMetrics } from '../support/promtool.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

describe.skipIf(skipBecause(notRoot()))('the command with a platform', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await startPlatform();
  });
  afterAll(() => platform[Symbol.asyncDispose]());

  /** A directory with a function in it. */
  async function source(name: string, code: string, spec = `name: ${name}\nmemory: 64Mi\n`): Promise<string> {
    const directory = join(platform.config.home, 'sources', name);
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'fn.yaml'), spec);
    await writeFile(join(directory, 'index.mjs'), code);
    return directory;
  }

  test('a function is made, deployed, called, looked at and removed', async () => {
    const directory = join(platform.config.home, 'sources', 'first');
    await mkdir(join(platform.config.home, 'sources'), { recursive: true });
    expect((await platform.fn(['init', directory])).code).toBe(0);

    const deployed = await platform.fn(['deploy'], { cwd: directory });
    expect(deployed).toMatchObject({ code: 0, stderr: '' });
    expect(deployed.stdout).toMatch(/^ {2}pack {8}.*\n {2}upload /);
    const url = `${platform.gatewayUrl}/function/first`;
    expect(deployed.stdout.trimEnd().split('\n').at(-1)).toBe(url);

    const list = await platform.fnJson<FunctionSummary[]>(['ls']);
    expect(list).toHaveLength(1);
    expect(list[0]).toMatchObject({ name: 'first', url, revision: 'first-00001', ready: 1, desired: 1 });
    expect(list[0]?.image).toMatch(/^sha256:/);
    expect((await platform.fn(['ls'])).stdout).toMatch(/^NAME +STATE +READY.*\nfirst +ready +1\/1/);
    expect((await platform.fn(['ls', '--quiet'])).stdout).toBe('first\n');

    const called = await platform.fn(['invoke', 'first', '--path', '/a?name=you']);
    expect(called.code).toBe(0);
    expect(JSON.parse(called.stdout)).toEqual({ message: 'Hello, you!', method: 'GET', path: '/a' });

    expect((await platform.fnJson<FunctionDetail>(['inspect', 'first'])).spec).toMatchObject({
      name: 'first',
      timeout: 10_000,
    });
    expect((await platform.fn(['inspect', 'first'])).stdout).toContain('first-00001');

    const removed = await platform.fn(['rm', 'first']);
    expect(removed).toMatchObject({ code: 0, stdout: 'removed first\n' });
    expect(await platform.fnJson<FunctionSummary[]>(['ls'])).toEqual([]);
  });

  test('what the API refuses about a command is explained by the help of the command', async () => {
    const { code, stderr } = await platform.fn(['inspect', 'No_Name']);
    expect(code).toBe(1);
    expect(stderr).toContain('name: a DNS label');
    expect(stderr).toContain('hint: See "fn help inspect".');
  });

  test('a function that calls out without a network is told so in its log', async () => {
    const code = `export default async () => new Response(String((await fetch('http://192.0.2.1/')).status))`;
    expect((await platform.fn(['deploy', await source('offline', code)])).code).toBe(0);
    expect((await platform.fn(['invoke', 'offline'])).code).toBe(1);
    await eventually(async () => {
      const { stdout } = await platform.fn(['logs', 'offline']);
      expect(stdout).toContain('This function has no network. Set network.egress in its fn.yaml');
    });
    expect((await platform.fn(['rm', 'offline'])).code).toBe(0);
  });

  test('a file that cannot be read is named, and nothing else is blamed', async () => {
    await using home = await testDirectory();
    const directory = join(home.path, 'source'); // The platform's own home is closed to others.
    await cp(await source('unreadable', 'export default () => new Response()'), directory, { recursive: true });
    await copyFile(join(platform.config.home, 'context.json'), join(home.path, 'context.json'));
    await chmod(home.path, 0o755);
    await chmod(directory, 0o755);
    await chmod(join(home.path, 'context.json'), 0o644);
    await writeFile(join(directory, 'private'), 'x', { mode: 0o600 });
    const { code, stderr } = await platform.fn(['deploy', directory], { uid: 65_534, env: { FN_HOME: home.path } });
    expect(code).toBe(1);
    expect(stderr).toContain(`${join(directory, 'private')} cannot be read (EACCES)`);
    expect(stderr).toContain('.fnignore');
  });

  test('an old revision keeps answering under its alias', async () => {
    const code = (text: string): string => `export default () => new Response('${text}')`;
    const directory = await source('aliased', code('one'));
    expect((await platform.fn(['deploy', directory])).code).toBe(0);
    await source('aliased', code('two'));
    expect((await platform.fn(['deploy', directory])).code).toBe(0);

    expect((await platform.fn(['invoke', 'aliased@old'])).stderr).toContain('alias.not_found');
    const set = await platform.fn(['alias', 'set', 'aliased@old', '1']);
    expect(set).toMatchObject({ code: 0, stderr: '' });
    expect(set.stdout).toBe(`${platform.gatewayUrl}/function/aliased@old → aliased-00001 100 %\n`);
    expect((await platform.fn(['invoke', 'aliased@old'])).stdout).toBe('one');
    expect((await platform.fn(['invoke', 'aliased@1'])).stdout).toBe('one');
    expect((await platform.fn(['invoke', 'aliased'])).stdout).toBe('two');

    expect((await platform.fn(['alias', 'set', 'aliased@old', '1=90', '2=20'])).stderr).toContain(
      'sum to 110, not to 100',
    );
    expect((await platform.fn(['alias', 'set', 'aliased@old', '1=90', '2=10', '--sticky', 'cookie:sid'])).code).toBe(0);
    expect(await platform.fnJson<AliasSummary[]>(['alias', 'ls', 'aliased'])).toMatchObject([
      { function: 'aliased', name: 'old', sticky: 'cookie:sid', targets: [{ weight: 90 }, { weight: 10 }] },
    ]);
    const inspected = (await platform.fn(['inspect', 'aliased'])).stdout;
    expect(inspected).toMatch(/aliased-00002 +100 % +old 10 % /);
    expect(inspected).toMatch(/aliased-00001 +- +old 90 % /);
    expect((await platform.fn(['alias', 'ls'])).stdout).toContain(
      'aliased@old  aliased-00001 90 %, aliased-00002 10 %',
    );
    expect((await platform.fn(['alias', 'rm', 'aliased@old'])).code).toBe(0);
    expect((await platform.fn(['alias', 'rm', 'aliased@old'])).stderr).toContain('aliased has no alias old');
    expect((await platform.fn(['alias', 'point', 'x'])).code).toBe(2);
  });

  test("a deploy that asks for another function's route says whose it is", async () => {
    const code = 'export default () => new Response()';
    const spec = (name: string): string => `name: ${name}\nmemory: 64Mi\ntriggers: [{ http: { path: /contested } }]\n`;
    expect((await platform.fn(['deploy', await source('owner', code, spec('owner'))])).code).toBe(0);
    const refused = await platform.fn(['deploy', await source('rival', code, spec('rival'))]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('rival wants /contested (every method), which is a route of owner');
    expect(refused.stderr).toContain('fn rm owner');
    expect((await platform.fn(['inspect', 'rival'])).stderr).toContain('there is no function rival');
  });

  test('the metrics of every process are at one place, such as Prometheus wants them', async () => {
    const context = await readContext(platform.config.home);
    const read = async (): Promise<string> => {
      const headers = { authorization: `Bearer ${context?.token}` };
      return await (await fetch(`${context?.apiUrl}/metrics`, { headers })).text();
    };
    const text = await eventually(async () => {
      const found = await read();
      for (const of of [
        'fn_requests_total{',
        'fn_starts_total{',
        'fn_reconciles_total{',
        'fn_instances{',
        'fn_pool_sandboxes ',
      ])
        expect(found).toContain(of);
      return found;
    });
    expect(lintMetrics(text)).toBe('');
  });

  test('status names the gateway, the API and each process', async () => {
    const status = await platform.fnJson<Status>(['status']);
    expect(status).toMatchObject({ healthy: true, gatewayUrl: platform.gatewayUrl, home: platform.config.home });
    expect(status.processes.map(({ role }) => role)).toEqual(['gateway', 'worker', 'controller', 'builder']);
    const { code, stdout } = await platform.fn(['status']);
    expect(code).toBe(0);
    expect(stdout).toContain('is well');
  });

  test('a body comes from a flag, a file or a pipe, and goes back byte for byte', async () => {
    await platform.deploy(
      await source(
        'echo',
        'export default (request) => new Response(request.body, { headers: { "x-type": request.headers.get("content-type"), "x-mine": request.headers.get("x-mine") } });',
      ),
    );
    const bytes = new Uint8Array(100_000).map((_, index) => (index * 7) % 256);
    const file = join(platform.config.home, 'sources', 'body.png');
    await writeFile(file, bytes);

    const data = await platform.fnJson<{ status: number; headers: Record<string, string>; body: string }>([
      'invoke',
      'echo',
      '-d',
      '{"a":1}',
      '-H',
      'X-Mine: yes',
    ]);
    expect(data).toMatchObject({
      status: 200,
      body: '{"a":1}',
      headers: { 'x-type': 'application/json', 'x-mine': 'yes' },
    });
    expect(await platform.fnJson(['invoke', 'echo', '--data', 'plain'])).toMatchObject({
      headers: { 'x-type': 'text/plain;charset=utf-8' },
    });
    const sent = await platform.fnJson<{ body: string; base64: boolean }>(['invoke', 'echo', '--file', file]);
    expect(sent.base64).toBe(true);
    expect(Buffer.from(sent.body, 'base64').equals(Buffer.from(bytes))).toBe(true);
    expect(await platform.fn(['invoke', 'echo', '--file', '-'], { input: 'from a pipe' })).toMatchObject({
      code: 0,
      stdout: 'from a pipe',
    });
  });

  test("a failing reply makes a failing command, ours explained, the function's own passed on", async () => {
    await platform.deploy(
      await source(
        'moody',
        'export default (request) => { if (request.url.endsWith("/throw")) throw new Error("no luck"); return new Response("teapot", { status: 418 }); };',
      ),
    );
    const own = await platform.fn(['invoke', 'moody']);
    expect(own).toMatchObject({ code: 1, stdout: 'teapot' });
    expect(own.stderr).toContain('HTTP 418');
    const unknown = await platform.fn(['invoke', 'nobody', '--json']);
    expect(unknown.code).toBe(1);
    expect(JSON.parse(unknown.stderr)).toMatchObject({ code: 'function.not_found', status: 404 });
  });

  test('an asynchronous call prints its id, or waits for its result', async () => {
    await platform.deploy(
      await source(
        'later',
        'export const run = (event) => ({ got: event.body });',
        'name: later\nmemory: 64Mi\nhandler: index.run\n',
      ),
    );
    const queued = await platform.fn(['invoke', 'later', '--async', '--data', 'x']);
    expect(queued.code).toBe(0);
    expect(queued.stdout).toMatch(/^later\.[0-9a-z]{20}\n$/);
    const { code, stdout } = await platform.fn(['invoke', 'later', '--async', '--wait', '--data', 'x']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ got: 'x' });
  });

  test('a function that fails to load prints its own error and its last log lines', async () => {
    const directory = await source(
      'broken',
      'console.log("about to break");\nthrow new Error("cannot find my config");',
    );
    const { code, stderr } = await platform.fn(['deploy', directory]);
    expect(code).toBe(1);
    expect(stderr).toContain('The function failed to load');
    expect(stderr).toContain('cannot find my config');
    expect(stderr).toContain('about to break');
    expect(stderr).toContain('hint:');
  });

  test('Ctrl-C during a deploy ends it without fuss', async () => {
    const directory = await source('slow', 'await new Promise(() => setInterval(() => {}, 1000));');
    const command = startFn(['deploy', directory], { env: { FN_HOME: platform.config.home } });
    await eventually(() => expect(command.stdout()).toContain('slow-00001'));
    command.child.kill('SIGINT');
    const { code, stderr } = await command.ended;
    expect(code).toBe(130);
    expect(stderr).toMatch(/^interrupted\. [^\n]*\n$/);
    await platform.fn(['rm', 'slow']);
  });

  test('a mistake in fn.yaml is told with its line', async () => {
    const directory = await source('typo', 'export default () => new Response();', 'name: typo\nmemroy: 64Mi\n');
    const { code, stderr } = await platform.fn(['deploy', directory, '--json']);
    expect(code).toBe(1);
    const problem = JSON.parse(stderr) as Problem;
    expect(problem.code).toBe('spec.invalid');
    expect(problem.detail).toContain('fn.yaml:2: memroy is not a key here; did you mean memory?');
  });

  test('logs show what was printed, chosen and followed until Ctrl-C', async () => {
    await platform.deploy(
      await source('chatty', 'let n = 0; export default () => { console.log(`call ${++n}`); return new Response(); };'),
    );
    await platform.call('/function/chatty');
    await eventually(async () =>
      expect((await platform.fn(['logs', 'chatty'])).stdout).toMatch(/^\d\d:\d\d:\d\d\.\d{3} [0-9a-f]{8} +call 1\n$/),
    );
    const command = startFn(['logs', 'chatty', '--follow', '--json'], { env: { FN_HOME: platform.config.home } });
    const texts = (): string[] =>
      command
        .stdout()
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as LogLine).text);
    await eventually(() => expect(texts()).toEqual(['call 1']));
    await platform.call('/function/chatty');
    await eventually(() => expect(texts()).toEqual(['call 1', 'call 2']));
    command.child.kill('SIGINT');
    expect(await command.ended).toMatchObject({ code: 0, stderr: '' });
    expect((await platform.fn(['logs', 'chatty', '--tail', '1'])).stdout).toMatch(/call 2\n$/);
  });

  test('removing is all or nothing where a name is wrong', async () => {
    await platform.deploy(await source('kept', 'export default () => new Response("here");'));
    const { code, stderr } = await platform.fn(['rm', 'kept', 'ketp']);
    expect(code).toBe(1);
    expect(stderr).toContain('there is no function ketp');
    expect(stderr).toContain('Did you mean kept?');
    expect((await platform.fn(['invoke', 'kept'])).stdout).toBe('here');
  });

  test('the platform is found by its home alone: a second one is refused, with the pid of the first', async () => {
    const { supervisor } = await platform.fnJson<{ supervisor: number }>(['status']);
    const { code, stderr } = await platform.fn(['server']);
    expect(code).toBe(1);
    expect(stderr).toContain('A platform is already running in this FN_HOME');
    expect(stderr).toContain(`pid ${supervisor} holds`);
    expect((await platform.fn(['status'])).code).toBe(0);
  });

  test('everything can be removed at once', async () => {
    expect((await platform.fn(['rm', '--all', '--json'])).code).toBe(0);
    expect(await platform.fnJson<FunctionSummary[]>(['ls'])).toEqual([]);
    expect((await platform.fn(['ls'])).stdout).toContain('No functions yet');
  });
});
