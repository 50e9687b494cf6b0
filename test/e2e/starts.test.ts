/** How an instance comes to a call, with a pool and without one: the reply says which it was, the metrics count it, and the
 *  instance has its own limits, whatever the sandbox had before. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCgroups } from '../../worker/cgroup/open.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const MIB = 2 ** 20;
const NAME = 'sleepy';

/** The first of the group's files that there is: `controller/file` on cgroup v1, `file` on v2. */
function ofGroup(platform: TestPlatform, sandbox: string, v1: string, v2: string): string {
  const group = `fn-${platform.config.instanceOfPlatform}/${sandbox}`;
  const [controller = '', file = ''] = v1.split('/');
  const path = join('/sys/fs/cgroup', controller, group, file);
  return readFileSync(existsSync(path) ? path : join('/sys/fs/cgroup', group, v2), 'utf8').trim();
}

describe.each([
  { pool: '0', kind: 'cold' },
  { pool: '1', kind: 'claimed' },
])('with FN_POOL=$pool', ({ pool, kind }) => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await startPlatform({ FN_POOL: pool, FN_FREEZE_AFTER_MS: '300' });
    await platform.deployFiles({
      'fn.yaml': `name: ${NAME}\nmemory: 128Mi\ncpu: 500m\nscale: { idle: 1s, max: 1 }`,
      'index.js': 'export default () => new Response("awake")',
    });
  }, 120_000);
  afterAll(() => platform[Symbol.asyncDispose](), 60_000);

  const metrics = async (): Promise<string> => (await platform.api.call('/metrics')).text();
  const poolIsReady = (): Promise<void> =>
    eventually(async () => {
      const size = /^fn_pool_sandboxes (\d+)$/m.exec(await metrics())?.[1];
      expect(Number(size)).toBeGreaterThanOrEqual(Number(pool)); // More after claims in quick succession.
    }, 30_000);
  const call = (): Promise<Response> => platform.call(`/function/${NAME}`);

  test(`a call that finds no instance is ${kind}, then others are warm or thawed, and all are counted`, async () => {
    await eventually(async () => expect(await platform.instances(NAME)).toEqual([]), 30_000);
    await poolIsReady();
    const kinds = new Set<string>();
    await eventually(async () => {
      const reply = await call();
      expect(await reply.text()).toBe('awake');
      kinds.add(/^(\w+);ms=[\d.]+$/.exec(reply.headers.get('x-fn-start') ?? '')?.[1] ?? '');
      expect([...kinds][0]).toBe(kind);
      await new Promise((resolve) => setTimeout(resolve, kinds.has('warm') ? 400 : 0));
      expect([...kinds].toSorted()).toEqual([kind, 'thawed', 'warm'].toSorted());
    }, 30_000);
    await eventually(async () => {
      const text = await metrics();
      for (const one of kinds) {
        const line = `^fn_invocation_starts_total\\{(?=.*function="${NAME}")(?=.*kind="${one}").*\\} [1-9]`;
        expect(text).toMatch(new RegExp(line, 'm'));
      }
      expect(text).toMatch(new RegExp(`^fn_starts_total\\{.*kind="${kind}".*\\} [1-9]`, 'm'));
    });
  });

  test('the bootstrap is compiled once for its base layer, and a sandbox can read that', async () => {
    const { layers } = platform.config.paths;
    const compiled = (): string[] =>
      readdirSync(layers).filter((name) => existsSync(join(layers, name, 'opt/fn/bootstrap.code')));
    await eventually(() => expect(compiled()).toHaveLength(1), 30_000);
    await platform.deployFiles({
      'fn.yaml': 'name: reader',
      'index.mjs': `import { readFileSync } from 'node:fs';
        export default () => Response.json(readFileSync('/opt/fn/bootstrap.code').length)`,
    });
    const size = statSync(join(layers, compiled()[0] ?? '', 'opt/fn/bootstrap.code')).size;
    expect(await (await platform.call('/function/reader')).json()).toBe(size);
  });

  test('an instance has the limits of its fn.yaml, no swap, and the weight of any other work', async () => {
    const sandbox = ((await call()).headers.get('x-fn-instance') ?? '').slice(-8);
    const file = (v1: string, v2: string): string => ofGroup(platform, sandbox, v1, v2);
    expect(file('memory/memory.limit_in_bytes', 'memory.max')).toBe(String(128 * MIB));
    expect(file('memory/memory.memsw.limit_in_bytes', 'memory.swap.max')).toMatch(new RegExp(`^(${128 * MIB}|0)$`));
    expect(file('cpu/cpu.cfs_quota_us', 'cpu.max')).toMatch(/^50000( 100000)?$/);
    expect(file('cpu/cpu.shares', 'cpu.weight')).toMatch(/^(1024|100)$/);
    expect(file('pids/pids.max', 'pids.max')).toBe('64');
  });

  if (kind !== 'claimed') return;
  test('a sandbox whose worker died during its claim comes to nobody else', async () => {
    await platform.deployFiles({
      'fn.yaml': 'name: slow\nmemory: 128Mi\nscale: { idle: 1s, max: 1 }',
      'package.json': '{"type":"module"}',
      'index.js':
        // It says what a sandbox says that is nobody's yet.
        'await new Promise((resolve) => setTimeout(resolve, 6000)); export default () => Response.json({ claimed: false })',
    });
    await eventually(async () => expect(await platform.instances('slow')).toEqual([]), 30_000);
    await poolIsReady();
    const { sandboxes } = platform.config.paths;
    const claimed = (): string[] =>
      readdirSync(sandboxes).filter((id) => {
        const task = join(sandboxes, id, 'task');
        return existsSync(task) && readdirSync(task).length > 0;
      });
    const before = new Set(claimed());
    const interrupted = platform.call('/function/slow').then((reply) => reply.text());
    const id = await eventually(() => {
      const [one] = claimed().filter((each) => !before.has(each));
      if (one === undefined) throw new Error('none is claimed yet');
      return one;
    });
    const [worker = 0] = await platform.pids('worker');
    process.kill(worker, 'SIGKILL');
    await interrupted.catch(() => {});
    const cgroups = openCgroups(platform.config.instanceOfPlatform);
    await eventually(async () => expect(await cgroups.list()).not.toContain(id), 30_000);
    await eventually(async () => expect((await platform.call('/function/slow')).status).toBe(200), 30_000);
  }, 90_000);
});
