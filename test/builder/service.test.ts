/** The builder as a process of the platform: jobs from the queue, results and problems back, and what it does when it ends
 *  in the middle. */

import { createHash } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, expect, test, vi } from 'vitest';
import type { Config } from '../../core/config.ts';
import { fromProblem } from '../../core/errors.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import { BUILD_QUEUE, type BuildJob, type BuildProgress, type BuildResult, openQueue } from '../../core/queues.ts';
import { connectRedis } from '../../core/redis.ts';
import type { Service } from '../../core/service.ts';
import { MemoryStore } from '../../core/store/memory.ts';
import { startBuilder } from '../../builder/main.ts';
import { validateLayout } from '../../builder/oci/validate.ts';
import { packDirectory } from '../../builder/pack.ts';
import { END, takeOver } from '../support/service.ts';
import { testDirectory, type Tree } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis } from '../support/redis.ts';
import { startRegistry } from '../support/registry.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

const HELLO: Tree = { 'fn.yaml': 'name: hello\nhandler: index.default\n', 'index.js': 'export default () => {}' };

/** A platform's Redis and home, with the queue as the control API uses it. */
async function platform() {
  const stack = new AsyncDisposableStack();
  const { config } = stack.use(await startRedis());
  const redis = connectRedis(config, 'failFast');
  stack.defer(() => redis.disconnect());
  const queue = openQueue<BuildJob, BuildResult>(BUILD_QUEUE, redis);
  stack.defer(() => queue.close());
  const add = (upload: string) => queue.add('build', { upload });
  return {
    config,
    add,
    start: () =>
      startBuilder({ config, log: silentLog, metrics: new Metrics(), redis, store: new MemoryStore(), takeOver }),
    state: async (id: string | undefined) => (await queue.getJob(id ?? ''))?.getState(),
    async finished(id: string | undefined) {
      return eventually(async () => {
        const job = await queue.getJob(id ?? '');
        if (job?.finishedOn === undefined) throw new Error('the build has not ended');
        return job;
      }, 20_000);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Puts a directory where the control API puts uploads. */
async function upload(config: Config, files: Tree): Promise<string> {
  await using home = await testDirectory();
  const bytes = await buffer(await packDirectory(await home.write(files)));
  const name = createHash('sha256').update(bytes).digest('hex');
  await mkdir(config.paths.uploads, { recursive: true });
  await writeFile(join(config.paths.uploads, name), bytes);
  return name;
}

const running = (service: Service): unknown => service.facts?.()['running'];

test('a queued build ends with the image, its specification and its layers, and tells its steps', async () => {
  await using fn = await platform();
  const builder = await fn.start();
  try {
    const job = await fn.finished((await fn.add(await upload(fn.config, HELLO))).id);
    expect(job.failedReason).toBeUndefined();
    expect(job.returnvalue.spec.name).toBe('hello');
    expect(job.returnvalue.layers.map(({ kind }) => kind)).toEqual(['base', 'code']);
    expect(job.progress as BuildProgress).toEqual({ step: 'code', text: '1 file' });
    expect(await validateLayout(fn.config.paths.images)).toEqual([]);
  } finally {
    await builder.end('stop', END);
  }
});

test('a failed build ends with its problem and is not tried again', async () => {
  await using fn = await platform();
  const builder = await fn.start();
  try {
    const broken = await upload(fn.config, { ...HELLO, 'index.js': '', 'bad.ts': 'const = 1' });
    const job = await fn.finished((await fn.add(broken)).id);
    const problem = fromProblem(JSON.parse(job.failedReason ?? '') as unknown);
    expect(problem?.code).toBe('build.failed');
    expect(problem?.message).toMatch(/^bad\.ts:1/);
    expect(job.attemptsMade).toBe(1);

    for (const name of ['../../etc/passwd', '']) {
      const refused = await fn.finished((await fn.add(name)).id);
      expect(fromProblem(JSON.parse(refused.failedReason ?? ''))?.code).toBe('package.invalid');
    }
    const gone = await fn.finished((await fn.add('0'.repeat(64))).id);
    expect(fromProblem(JSON.parse(gone.failedReason ?? ''))?.code).toBe('internal');
  } finally {
    await builder.end('stop', END);
  }
});

test('what a killed builder left half-made is gone when the next one starts', async () => {
  await using fn = await platform();
  const { cache, images } = fn.config.paths;
  await mkdir(join(cache, 'work/build-abc'), { recursive: true });
  await mkdir(join(images, '.partial'), { recursive: true });
  await writeFile(join(cache, 'work/build-abc/file'), 'half');
  await writeFile(join(images, '.partial/abc'), 'half');
  const builder = await fn.start();
  await builder.end('stop', END);
  expect(await readdir(join(images, '.partial'))).toEqual([]);
  expect(await readdir(cache)).not.toContain('work');
});

test('a build in the middle goes to the next builder at a hand-over, and fails when the platform stops', async () => {
  await using registry = await startRegistry([], { hang: true });
  vi.stubEnv('npm_config_registry', registry.url);
  await using fn = await platform();
  const files = { ...HELLO, 'package.json': '{"dependencies":{"left":"1.0.0"}}' };
  const [name, first] = [await upload(fn.config, files), await fn.start()];
  const { id } = await fn.add(name);
  await eventually(() => expect(registry.requests.length).toBe(1));
  await first.end('handover', END);
  expect(running(first)).toBe(0);
  expect(await fn.state(id)).toBe('waiting');
  expect(await readdir(join(fn.config.paths.cache, 'work'))).toEqual([]);

  const second = await fn.start();
  await eventually(() => expect(registry.requests.length).toBe(2));
  await second.end('stop', END);
  const job = await fn.finished(id);
  expect(fromProblem(JSON.parse(job.failedReason ?? ''))?.code).toBe('process.down');
});
