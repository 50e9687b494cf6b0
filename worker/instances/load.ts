/** Makes an instance of a generic sandbox: its limits, its code, its handler. When that fails, the instance is ended and the
 *  error says which of the many ways it failed: no such handler, an error while loading, an exit, out of memory, too slow. */

import { sleep } from '../../core/clock.ts';
import { FnError, toFnError } from '../../core/errors.ts';
import { formatDuration, type Millis } from '../../core/units.ts';
import type { UnpackedImage } from '../images.ts';
import { TimeoutError } from '../sandbox/line.ts';
import type { Instance } from './instance.ts';

/** The log's last lines arrive with the end of the process; after a refused claim it is about to end. */
const LAST_WORDS_WITHIN: Millis = 500;
const TEXT_MAX = 2000;
/** The kernel's default: a sandbox nobody has claimed has less. */
const WEIGHT = 100;

/** Where the time of a claim goes. Parts of `claim` are `limits`, until they are written, and `handler`, the bootstrap's own
 *  count. */
export interface LoadPhases {
  readonly mount: Millis;
  readonly limits: Millis;
  readonly claim: Millis;
  readonly handler: Millis;
}

/** Resolves when the instance is ready to serve. @throws FnError when it never will be; no process of it is left then. */
export async function loadInstance(
  instance: Instance,
  image: UnpackedImage,
  startTimeout: Millis,
  within: Millis,
): Promise<LoadPhases> {
  const { revision, sandbox } = instance;
  const { spec } = revision;
  let problem: FnError;
  try {
    const began = performance.now();
    sandbox.mountTask(image.task);
    const mounted = performance.now();
    const claim = {
      function: revision.function,
      revision: revision.id,
      instance: instance.id,
      handler: spec.handler,
      env: { ...image.env, ...spec.env },
      timeoutMs: spec.timeout,
      memoryBytes: spec.memory,
    };
    const claiming = sandbox.claim(claim, Math.max(1, within));
    claiming.catch(() => {}); // Heard below, or the limits failed first.
    // While the sandbox wakes up, which takes longer: no code of the function runs before. What it has had since it was started
    // are the limits that protect others: of memory and processes.
    sandbox.cgroup.setLimits({ cpu: spec.cpu, weight: WEIGHT });
    const limits = performance.now() - mounted;
    const reply = await claiming;
    if (reply.status === 200) {
      const took = performance.now() - mounted;
      return { mount: mounted - began, limits, claim: took, handler: Number(reply.body['ms']) };
    }
    problem = await refusal(instance, reply.body['error']);
  } catch (error) {
    problem = error instanceof TimeoutError ? tooSlow(instance, startTimeout) : await brokenOff(instance, error);
  }
  instance.intent ??= 'load-error';
  await sandbox.stop(0);
  throw problem;
}

/** The bootstrap says why the handler did not load. It then exits; its last lines belong to the story. */
async function refusal(instance: Instance, said: unknown): Promise<FnError> {
  instance.intent = 'load-error';
  await Promise.race([instance.sandbox.ended, sleep(LAST_WORDS_WITHIN)]);
  const error = Object(said) as Readonly<Record<string, unknown>>;
  const text = (value: unknown, other: string): string =>
    (typeof value === 'string' ? value : other).slice(0, TEXT_MAX);
  const message = text(error['message'], 'the bootstrap did not say why');
  const options = {
    logs: instance.tail,
    ...(typeof error['stack'] === 'string' && { data: { stack: text(error['stack'], '') } }),
  };
  if (error['kind'] === 'missing') return new FnError('handler.missing', message, options);
  const absent = /^Cannot find (?:module|package) '([^'./][^']*)'/.exec(message)?.[1];
  const hint =
    absent && `Type "npm install ${packageOf(absent)}" beside fn.yaml, so that package.json names it, and deploy.`;
  return new FnError('function.load_failed', `${text(error['name'], 'Error')}: ${message}`, {
    ...options,
    ...(hint && { hint }),
  });
}

/** `@scope/name/path` → `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function tooSlow(instance: Instance, startTimeout: Millis): FnError {
  instance.intent = 'start-timeout';
  return new FnError(
    'function.start_timeout',
    `the module was not loaded within ${formatDuration(startTimeout)} of the start (FN_START_TIMEOUT_MS)`,
    { logs: instance.tail },
  );
}

/** The connection broke: it ended while loading, and how it did says what to answer. */
async function brokenOff(instance: Instance, error: unknown): Promise<FnError> {
  const ending = await Promise.race([instance.over, sleep(LAST_WORDS_WITHIN).then(() => undefined)]);
  if (ending?.reason === 'oom') return ending.problem;
  const how = ending ? ending.problem.message : toFnError(error).message;
  return new FnError('function.load_failed', `it ended while loading: ${how}`, { logs: instance.tail, cause: error });
}
