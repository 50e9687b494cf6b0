/** A1, A2, A7, A12, A14–A17, A42, A66 and what does not end well: cases that are more than one probe. The function has 128 MiB,
 *  half a core, one instance and a timeout of 2 s. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { sleep } from '../../../core/clock.ts';
import type { Problem } from '../../../core/errors.ts';
import type { LogLine } from '../../../core/logs.ts';
import type { Cgroup } from '../../../worker/cgroup/cgroup.ts';
import { openCgroups } from '../../../worker/cgroup/open.ts';
import { PIDS_LIMIT } from '../../../worker/sandbox/profile.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestPlatform } from '../../support/platform.ts';
import type { Prober } from '../support/prober.ts';
import type { PlayedCase, Stage } from './case.ts';

const MIB = 2 ** 20;

export const RESOURCE_CASES: readonly PlayedCase[] = [
  {
    id: 'A1',
    tried: 'forks without end, its children too',
    result: `at most ${PIDS_LIMIT} tasks; 504 at its timeout, when all are gone`,
    heldBy: 'pids limit; the whole cgroup is killed',
    play: (stage) =>
      withInstance(stage, async (group) => {
        const reply = stage.prober.call('bombs/forks');
        await eventually(() => expect(group.stats().forksRefused).toBeGreaterThan(0));
        expect(group.stats().pids).toBeLessThanOrEqual(PIDS_LIMIT);
        expect(await codeOf(await reply)).toBe('function.timeout');
        expect(group.processes()).toEqual([]);
      }),
  },
  {
    id: 'A2',
    tried: 'starts 200 threads',
    result: `refused before ${PIDS_LIMIT} tasks; the process may not survive that, and is replaced`,
    heldBy: 'pids limit counts threads',
    async play({ prober }) {
      const reply = await prober.call('bombs/threads', { count: 200 });
      if (reply.status === 200) {
        const { started, stopped } = (await reply.json()) as { started: number; stopped: string };
        expect(stopped).not.toBe('never');
        expect(started).toBeLessThan(PIDS_LIMIT);
      } else expect(await codeOf(reply)).toMatch(/^function\.(crashed|oom|timeout)$/);
    },
  },
  {
    id: 'A7',
    tried: 'fills the buffers of 480 socket pairs',
    result: 'function.oom: buffers count as its memory',
    heldBy: 'memory limit counts kernel memory',
    async play({ prober }) {
      expect(await codeOf(await prober.call('bombs/socketBuffers'))).toBe('function.oom');
    },
  },
  {
    id: 'A42',
    tried: 'kills every process there is, and process 1',
    result: 'nothing outside; its init takes no signal from inside',
    heldBy: 'pid namespace',
    async play({ prober }) {
      await prober.probe('bombs/killEverything');
      expect(await prober.probe('visibility/processes')).toContain('fn-init');
    },
  },
  {
    id: 'A11, A12',
    tried: 'ignores SIGTERM',
    result: 'killed after the grace time when it is removed',
    heldBy: 'the whole cgroup is killed',
    play: (stage) => removedAlthough(stage, 'bombs/ignoreSigterm'),
  },
  {
    id: 'A11',
    tried: 'spins in its SIGTERM handler',
    result: 'killed after the grace time when it is removed',
    heldBy: 'the whole cgroup is killed',
    play: (stage) => removedAlthough(stage, 'bombs/spinOnSigterm'),
  },
  {
    id: 'A14',
    tried: 'leaves daemons in sessions of their own that ignore signals',
    result: 'gone with the instance',
    heldBy: 'the whole cgroup is killed; pid namespace',
    play: (stage) => removedAlthough(stage, 'bombs/daemons', { count: 3 }),
  },
  {
    id: 'A15',
    tried: 'works on after its reply',
    result: 'frozen: no cpu until the next call, which thaws it',
    heldBy: 'the freezer',
    play: (stage) =>
      withInstance(stage, async (group) => {
        await stage.prober.probe('bombs/workOn');
        await eventually(async () => {
          const before = group.stats().cpu;
          await sleep(300);
          expect(group.stats().cpu).toBe(before);
        });
        const reply = await stage.prober.call('bombs/workOn');
        expect(reply.headers.get('x-fn-start')).toMatch(/^thawed;/);
        expect(await reply.json()).toBeGreaterThan(0);
      }),
  },
  {
    id: 'A14, A15',
    tried: 'forks after its reply, again and again',
    result: 'frozen with all its children, of which there are no more then; gone with the instance',
    heldBy: 'the freezer; pids limit; the whole cgroup is killed',
    play: (stage) =>
      removedAlthough(stage, 'bombs/forkOn', undefined, (group) =>
        eventually(async () => {
          const before = group.stats();
          expect(before.pids).toBeLessThanOrEqual(PIDS_LIMIT);
          await sleep(300);
          expect(group.stats()).toMatchObject({ cpu: before.cpu, pids: before.pids });
        }),
      ),
  },
  {
    id: 'A16',
    tried: 'floods its log for a second',
    result: 'what is over the rate is dropped and marked; the instance is unharmed, the worker holds none of it',
    heldBy: 'the log pipe reads on and counts; FN_LOG_LIMIT',
    async play({ platform, prober }) {
      const reply = await prober.call('bombs/flood', { ms: 1000 });
      expect(Number(await reply.text())).toBeGreaterThan(4 * MIB);
      const marks = await eventually(async () => {
        const found = (await linesOf(platform, prober)).filter(({ from }) => from === 'platform');
        expect(found.map(({ text }) => text).join('\n')).toMatch(/\d+ bytes of log over the rate limit were dropped/);
        return found;
      });
      expect(marks.length).toBeLessThan(20);
      expect(sizeOf(join(platform.config.paths.logs, prober.name))).toBeLessThanOrEqual(platform.config.logLimit);
      const next = await prober.call('visibility/processes');
      expect(next.headers.get('x-fn-instance')).toBe(reply.headers.get('x-fn-instance'));
      const [worker = 0] = await platform.pids('worker');
      expect(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker}/status`, 'utf8'))?.[1])).toBeLessThan(500_000);
    },
  },
  {
    id: 'A17, A61',
    tried: 'logs a line of 500 kB, NUL, terminal escapes, separators, forged records, results, marks and ends',
    result: 'cut, escaped and kept as its own text; its reply is its reply',
    heldBy: 'results and logs have a channel each; records are JSON, made by the worker',
    async play(stage) {
      const { platform, prober } = stage;
      await replaceInstance(stage); // The log of the last one is still over its rate.
      const reply = await prober.call('bombs/forgeLog', { id: 'somebody-else' });
      expect([reply.status, await reply.json()]).toEqual([200, null]);
      const instance = reply.headers.get('x-fn-instance');
      const lines = await eventually(async () => {
        const found = (await linesOf(platform, prober)).filter((line) => line.instance === instance);
        expect(found.at(-1)?.text).toBe('last');
        return found;
      });
      for (const line of lines) expect(line).toMatchObject({ from: 'function', revision: `${prober.name}-00001` });
      const texts = lines.map(({ text }) => text);
      expect(texts.find((text) => text.startsWith('long '))?.length).toBeLessThan(17_000);
      expect(texts).toContain('nul \0 escape \x1b[2J\x1b]0;title\x07 end');
      expect(texts).toContain('separators \u2028null\u2029{} end');
      expect(texts).toContainEqual(expect.stringContaining('"from":"platform"'));
      // It may file its own lines under an invocation that is not theirs, in its own log.
      expect(lines.find(({ invocation }) => invocation === 'somebody-else')?.text).toBe('of another invocation');
    },
  },
  {
    id: 'A44',
    tried: 'leaves a file in /tmp for later invocations',
    result: 'they see it as long as the instance lives; another instance does not',
    heldBy: 'a tmpfs for each sandbox; docs/runtimes.md says so',
    async play(stage) {
      await stage.prober.probe('bombs/leave', { name: 'canary' });
      expect(await stage.prober.probe('bombs/found')).toEqual(['canary']);
      await replaceInstance(stage);
      expect(await stage.prober.probe('bombs/found')).toEqual([]);
    },
  },
  {
    id: 'A67',
    tried: 'closes all its descriptors, the socket it answers on too',
    result: 'that instance answers no more, is found out at the next timeout, and replaced',
    heldBy: 'the timeout; the init holds what the platform needs',
    async play({ prober }) {
      const before = await prober.call('bombs/closeEverything');
      await eventually(async () => {
        const reply = await prober.call('visibility/processes');
        expect([reply.status, await reply.text()]).toEqual([200, expect.stringContaining('fn-init')]);
        expect(reply.headers.get('x-fn-instance')).not.toBe(before.headers.get('x-fn-instance'));
      }, 20_000);
    },
  },
  {
    id: 'A66',
    tried: 'forks, spins, allocates and fills /tmp all at once',
    result: 'ended at its memory limit or its timeout; every call of the neighbour is answered meanwhile',
    heldBy: 'all limits together',
    async play({ prober, neighbour }) {
      const over = new AbortController();
      const bomb = prober.call('bombs/everything').finally(() => over.abort());
      let answered = 0;
      while (!over.signal.aborted) {
        expect(await neighbour.probe('visibility/signalHostPid', { pid: 1 })).toBe('ok');
        answered++;
      }
      expect(await codeOf(await bomb)).toMatch(/^function\.(oom|timeout)$/);
      expect(answered).toBeGreaterThan(5);
    },
  },
];

async function codeOf(reply: Response): Promise<string> {
  const text = await reply.text();
  return reply.headers.has('x-fn-error') ? (JSON.parse(text) as Problem).code : `${reply.status} ${text}`;
}

/** The cgroup of the one instance the prober has. */
async function withInstance(stage: Stage, use: (group: Cgroup) => Promise<void>): Promise<void> {
  const reply = await stage.prober.call('visibility/processes');
  expect(reply.status).toBe(200);
  using group = openCgroups(stage.platform.config.instanceOfPlatform).open(sandboxOf(reply));
  await use(group);
}

function sandboxOf(reply: Response): string {
  return (reply.headers.get('x-fn-instance') ?? '').slice(-8);
}

/** The function is deployed for this case alone, tries what makes it hard to end, and is removed. */
async function removedAlthough(
  stage: Stage,
  path: string,
  args?: Readonly<Record<string, number>>,
  look?: (group: Cgroup) => Promise<unknown>,
): Promise<void> {
  const { platform } = stage;
  const stubborn = await stage.deploy('stubborn');
  const reply = await stubborn.call(path, args);
  expect(reply.status).toBe(200);
  const cgroups = openCgroups(platform.config.instanceOfPlatform);
  expect(await cgroups.list()).toContain(sandboxOf(reply));
  using group = cgroups.open(sandboxOf(reply));
  await look?.(group);
  await platform.api.call(`/v1/functions/${stubborn.name}?wait=true`, { method: 'DELETE' });
  await eventually(async () => expect(await cgroups.list()).not.toContain(sandboxOf(reply)));
}

async function replaceInstance({ platform, prober }: Stage): Promise<void> {
  const [instance] = await platform.instances(prober.name);
  process.kill(instance?.pid ?? 0, 'SIGKILL');
  await eventually(async () => {
    const ids = (await platform.instances(prober.name)).map(({ id }) => id);
    expect(ids).not.toContain(instance?.id);
  });
}

async function linesOf(platform: TestPlatform, { name }: Prober): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of platform.api.lines<LogLine>(`/v1/functions/${name}/logs`)) lines.push(line);
  return lines;
}

function sizeOf(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}
