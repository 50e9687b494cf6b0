/** How an invocation ended is told as it was, in its reply, its record and its line of the log: an exit, a signal, the end of
 *  memory and the end of time are never taken for each other, whatever the function writes into its log. FN_OUTCOME_RUNS=1000 for the long run. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Problem } from '../../core/errors.ts';
import type { InvocationRecord } from '../../core/invocation-log.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';

const SOURCE = join(import.meta.dirname, 'functions/endings/index.js');
const RUNS = Number(process.env['FN_OUTCOME_RUNS'] ?? 60);
const CLIENTS = 3;

interface Ending {
  readonly path: string;
  readonly says: readonly [status: number, code?: string, detail?: RegExp];
  /** In a function whose timeout is short. */
  readonly hasty?: true;
}

const exits = [0, 1, 2, 134, 137, 139, 143, 255].map((code): Ending => ({
  path: `exit?code=${code}`,
  says: [502, 'function.crashed', new RegExp(`exited with code ${code}$`)],
}));

const ENDINGS: readonly Ending[] = [
  { path: 'ok', says: [200] },
  { path: 'throw', says: [500] },
  { path: 'throw-later', says: [502, 'function.crashed', /code 1$/] },
  ...exits,
  { path: 'exit-137-after-half-a-line', says: [502, 'function.crashed', /exited with code 137$/] },
  { path: 'exit-and-claim-to-be-killed', says: [502, 'function.crashed', /exited with code 3$/] },
  { path: 'kill', says: [502, 'function.killed', /SIGKILL/] },
  { path: 'kill-after-half-a-line', says: [502, 'function.killed', /SIGKILL/] },
  { path: 'kill-after-a-long-line', says: [502, 'function.killed', /SIGKILL/] },
  { path: 'kill-and-claim-to-exit', says: [502, 'function.killed', /SIGKILL/] },
  { path: 'segfault', says: [502, 'function.killed', /SIGSEGV/] },
  { path: 'abort', says: [502, 'function.killed', /SIGABRT/] },
  { path: 'out-of-buffers', says: [502, 'function.oom'] },
  { path: 'out-of-heap', says: [502, 'function.oom'] },
  { path: 'out-of-heap-deep-down', says: [502, 'function.oom'] },
  { path: 'out-of-heap-after-a-flood', says: [502, 'function.oom'] },
  { path: 'child-out-of-memory', says: [502, 'function.oom'] },
  { path: 'loop', hasty: true, says: [504, 'function.timeout'] },
  { path: 'late', hasty: true, says: [504, 'function.timeout'] },
  { path: 'stop', hasty: true, says: [504, 'function.timeout'] },
  { path: 'loop-on-exit', hasty: true, says: [504, 'function.timeout'] },
];

/** Of the first invocations, by id: what their records must say. */
const told = new Map<string, string>();
const TOLD_MAX = 300;
let asked = 0;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startPlatform({ FN_LOG_LEVEL: 'debug' });
  const index = await readFile(SOURCE, 'utf8');
  const spec = `memory: 96Mi\nscale: { max: ${CLIENTS} }`;
  const files = { 'index.js': index, 'package.json': '{"type":"module"}' };
  await platform.deployFiles({ ...files, 'fn.yaml': `name: endings\ntimeout: 30s\n${spec}` });
  await platform.deployFiles({ ...files, 'fn.yaml': `name: hasty\ntimeout: 1s\n${spec}` });
}, 120_000);
afterAll(() => platform[Symbol.asyncDispose](), 60_000);

/** What was wrong with how the ending was told; undefined when nothing was. */
async function mistake(ending: Ending, attempt = 0): Promise<string | undefined> {
  const { path, says, hasty } = ending;
  const [status, code, detail] = says;
  const id = `ending-${asked++}`;
  const reply = await platform.call(`/function/${hasty ? 'hasty' : 'endings'}/${path}`, {
    headers: { 'x-fn-account': '1', 'x-request-id': id },
  });
  const body = await reply.text();
  const problem = reply.headers.get('x-fn-error') === null ? undefined : (JSON.parse(body) as Problem);
  // The machine was too busy to start an instance in that time: nothing has run, so nothing has ended.
  if (problem?.code === 'function.start_timeout' && attempt < 5) return mistake(ending, attempt + 1);
  const outcome = outcomeOf(ending);
  if (told.size < TOLD_MAX) told.set(id, outcome);
  const account = reply.headers.get('x-fn-account') ?? '';
  const right = reply.status === status && problem?.code === code && (detail?.test(problem?.detail ?? '') ?? true);
  return right && account.startsWith(`outcome=${outcome};`)
    ? undefined
    : `${path}: ${reply.status} ${account} ${problem?.code} ${problem?.detail}`;
}

function outcomeOf({ says }: Ending): string {
  const [status, code] = says;
  if (says[2]?.source.startsWith('SIG')) return 'signal';
  const words: Record<string, string> = { crashed: 'exit', killed: 'signal', oom: 'oom', timeout: 'timeout' };
  return words[code?.split('.')[1] ?? ''] ?? (status < 500 ? 'ok' : 'error');
}

test.each(ENDINGS)('$path is told as $says', async (ending) => {
  expect(await mistake(ending)).toBeUndefined();
});

test(`${RUNS} endings, ${CLIENTS} at a time, mixed: each is told as it was`, async () => {
  let next = 0;
  const mistakes: string[] = [];
  const client = async (): Promise<void> => {
    for (let run = next++; run < RUNS; run = next++) {
      const ending = ENDINGS[(run + Math.floor(run / ENDINGS.length) * 5) % ENDINGS.length];
      const wrong = ending && (await mistake(ending));
      if (wrong !== undefined) mistakes.push(wrong);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  expect(mistakes).toEqual([]);
}, 1_800_000);

test('a client that goes is told as cancelled', async () => {
  const id = 'ending-cancelled';
  const reply = platform.call('/function/endings/late', {
    signal: AbortSignal.timeout(500),
    headers: { 'x-request-id': id },
  });
  await expect(reply).rejects.toThrow(/timeout|abort/i);
  told.set(id, 'cancelled');
});

test('how each ended is in its record and in its line of the log, as it was in the reply', async () => {
  await eventually(async () => {
    const records = await Promise.all(
      ['endings', 'hasty'].map((name) =>
        platform.api.get<InvocationRecord[]>(`/v1/functions/${name}/invocations?tail=1000`),
      ),
    );
    const recorded = new Map(records.flat().map(({ id, outcome }) => [id, outcome]));
    expect(Object.fromEntries([...told].map(([id]) => [id, recorded.get(id)]))).toEqual(Object.fromEntries(told));
  });
  const lines = platform.output().matchAll(/^.*"msg":"invocation".*$/gm);
  const logged = new Map([...lines].map(([line]) => JSON.parse(line) as InvocationRecord).map((one) => [one.id, one]));
  expect(Object.fromEntries([...told].map(([id]) => [id, logged.get(id)?.outcome]))).toEqual(Object.fromEntries(told));
  expect(new Set(told.values()).size).toBe(7);
  for (const id of told.keys()) {
    const { start, wall, cpu, throttled, bytesIn, bytesOut } = logged.get(id) ?? {};
    expect(start).toMatch(/^(warm|thawed|claimed|cold)$/);
    for (const number of [wall, cpu, throttled, bytesIn, bytesOut]) expect(number).toBeGreaterThanOrEqual(0);
  }
});
