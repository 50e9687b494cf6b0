/** Runs a whole platform on one machine: a private Redis and one controller, worker, builder and gateway, each kept
 *  running. Order matters twice: Redis is first and last, and at the end nothing is taken away from under what still works:
 *  the gateway finishes its requests, then the controller and builder stop asking for things, then the worker ends the
 *  sandboxes. */

import { type ChildProcess, spawn } from 'node:child_process';
import { on } from 'node:events';
import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../core/clock.ts';
import type { Config } from '../../core/config.ts';
import { type Context, ensureContext } from '../../core/context.ts';
import { FnError, fromProblem, toFnError } from '../../core/errors.ts';
import { passSockets } from '../../core/inherited.ts';
import { checkRedisIsSafe, connectRedis, waitForRedis } from '../../core/redis.ts';
import { NODE_FLAGS, type Role } from '../../core/service.ts';
import type { Millis } from '../../core/units.ts';
import { prepareHome } from './directories.ts';
import { environmentOf } from './environment.ts';
import { KeptProcess, type ProcessEvents, type Replacement } from './kept-process.ts';
import { lockServer } from './lock.ts';
import { type RoleMessage, ROLES, type SupervisorMessage } from './messages.ts';
import { PlatformLog } from './platform-log.ts';
import { serveSupervisor } from './control.ts';
import { endStaleRedis, privateRedis } from './private-redis.ts';
import type { Reporter } from './reporter.ts';
import { Sockets } from './sockets.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const END_ORDER = ['gateway', 'controller', 'builder', 'worker', 'redis'] as const;
/** A little more than a process gives itself (core/service.ts). */
const END_WITHIN: Millis = 45_000;

export interface Platform {
  /** The ports are the real ones where 0 was asked for. */
  readonly config: Config;
  readonly context: Context;
}

export interface Replaced extends Replacement {
  readonly role: Role;
}

export class Supervisor {
  readonly #given: Config;
  readonly #reporter: Reporter;
  readonly #processes = new Map<string, KeptProcess>();
  readonly #logs = new Map<string, PlatformLog>();
  readonly #sockets = new Sockets();
  #opening: Promise<void> | undefined;
  #control: Promise<AsyncDisposable> | undefined;
  #lock: AsyncDisposable | undefined;
  #ended: Promise<void> | undefined;
  #forced = 0;

  constructor(config: Config, reporter: Reporter) {
    this.#given = config;
    this.#reporter = reporter;
  }

  /** @throws FnError when anything cannot start, or `end` was called meanwhile; what did start is ended again. */
  async start(): Promise<Platform> {
    try {
      return await this.#start();
    } catch (error) {
      await this.end();
      throw error;
    }
  }

  /** Ends every process in order; resolves when all are gone. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  /** Puts a new process of the code on disk in the place of one, without anyone noticing.
   *  @throws FnError why the new one is not ready; then the old one stays. */
  async replace(role: Role): Promise<Replaced> {
    const process = this.#processes.get(role);
    if (!process || this.#ended) throw new FnError('process.down', `the ${role} is not running`);
    try {
      const replacement = await process.replace();
      this.#reporter.done(role, `replaced, pid ${replacement.oldPid} by ${replacement.pid}`, replacement.ms);
      return { role, ...replacement };
    } catch (error) {
      const known = toFnError(error);
      this.#reporter.warn(role, `not replaced: ${known.message}`);
      throw new FnError(known.code, known.message, { ...known.options, hint: this.#whereIsTheLog(role) });
    }
  }

  /** One after the other, up to the first that fails. */
  async replaceAll(): Promise<void> {
    try {
      for (const role of ROLES) await this.replace(role);
    } catch {
      // It was reported, and what runs goes on.
    }
  }

  /** For the impatient. The worker and Redis are spared once: killed, they would leave the sandboxes to the next start. */
  force(): void {
    this.#forced++;
    for (const [name, process] of this.#processes) {
      if (this.#forced > 1 || (name !== 'worker' && name !== 'redis')) process.kill('SIGKILL');
    }
  }

  async #start(): Promise<Platform> {
    const given = this.#given;
    this.#opening = this.#open();
    await this.#opening;
    if (this.#ended) throw new FnError('process.down', 'stopped while starting');
    const config: Config = { ...given, ...this.#sockets.ports };
    const context = await ensureContext(config);
    if (!config.redisUrl) {
      if (await endStaleRedis(config)) this.#reporter.warn('redis', 'one of an earlier run was still there; ended');
      const env = environmentOf('redis', config, process.env);
      await this.#launch(privateRedis(config, env, this.#events(config, 'redis')));
    }
    await requireSafeRedis(config);
    await Promise.all(
      ROLES.map((role) => this.#launch(keptRole(role, config, this.#sockets, this.#events(config, role)))),
    );
    if (this.#ended) throw new FnError('process.down', 'stopped while starting');
    this.#control = serveSupervisor(config.paths.supervisorSocket, (role) => this.replace(role));
    await this.#control;
    return { config, context };
  }

  /** What `end` waits for, since it leaves files and sockets behind that are its to remove. */
  async #open(): Promise<void> {
    await prepareHome(this.#given);
    this.#lock = await lockServer(this.#given);
    await this.#sockets.open(this.#given);
  }

  async #launch(process: KeptProcess): Promise<void> {
    if (this.#ended) throw new FnError('process.down', 'stopped while starting');
    this.#processes.set(process.name, process);
    try {
      await this.#noticed(process.name, 'starting …', process.start());
    } catch (error) {
      const known = toFnError(error);
      if (known.code !== 'internal') throw known;
      const { logs } = known.options;
      const hint = this.#whereIsTheLog(process.name);
      throw new FnError('internal', known.message, { cause: known.cause, hint, ...(logs && { logs }) });
    }
  }

  #whereIsTheLog(name: string): string {
    return `The log is in ${this.#given.paths.logs}/platform/${name}.log.`;
  }

  async #end(): Promise<void> {
    // Whoever starts hears of what fails. What is just being opened is waited for, or it would stay open.
    const control = await this.#control?.catch(() => undefined);
    await control?.[Symbol.asyncDispose]();
    await this.#opening?.catch(() => {});
    this.#sockets[Symbol.dispose](); // Or clients would wait for a gateway that does not come.
    for (const name of END_ORDER) {
      const process = this.#processes.get(name);
      if (!process) continue;
      await this.#noticed(name, 'finishing …', process.end(END_WITHIN));
      this.#reporter.done(name, 'stopped');
    }
    // The gateway may not: it has no right to write where the sockets are.
    if (this.#lock) await rm(this.#given.paths.gatewaySocket, { force: true });
    await this.#lock?.[Symbol.asyncDispose]();
  }

  /** Whatever takes longer than a second is said. */
  async #noticed(name: string, what: string, work: Promise<void>): Promise<void> {
    using _ = systemClock.after(1000, () => this.#reporter.done(name, what));
    await work;
  }

  #events(config: Config, name: string): ProcessEvents {
    const log = new PlatformLog(config.paths.logs, name);
    this.#logs.set(name, log);
    return {
      onLine: (line) => {
        log.write(line);
        if (name !== 'redis') this.#reporter.line(name, line); // It reports its starts and ends as warnings.
      },
      onRestart: (how, afterMs) => {
        log.write(`${new Date().toISOString()} ${how}; starting again in ${Math.round(afterMs)} ms`);
        this.#reporter.warn(name, `${how}; starting again`);
      },
      onReady: (ms) => this.#reporter.done(name, 'ready', ms),
    };
  }
}

async function requireSafeRedis(config: Config): Promise<void> {
  const redis = connectRedis(config, 'failFast');
  try {
    await waitForRedis(redis, 5000);
    await checkRedisIsSafe(redis);
  } finally {
    redis.disconnect();
  }
}

function keptRole(role: Role, config: Config, sockets: Sockets, events: ProcessEvents): KeptProcess {
  return new KeptProcess({
    name: role,
    ...events,
    launch: () => {
      const { env, stdio } = passSockets(sockets.of(role));
      return spawn(process.execPath, [...NODE_FLAGS, MAIN, role], {
        env: { ...environmentOf(role, config, process.env), ...env },
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe', ...stdio, 'ipc'], // Inherited sockets begin at 3.
      });
    },
    ready,
    release,
  });
}

async function ready(child: ChildProcess, signal: AbortSignal, takeOver: () => Promise<void>): Promise<void> {
  for await (const [message] of on(child, 'message', { signal }) as AsyncIterable<[RoleMessage]>) {
    if ('failed' in message) throw fromProblem(message.failed) ?? new Error(message.failed.detail);
    if ('ready' in message) return;
    if ('standby' in message) {
      await takeOver();
      child.send({ takeOver: true } satisfies SupervisorMessage);
    }
  }
}

/** The old one of two: its successor is ready, or waits for what only one may have. */
async function release(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const messages = on(child, 'message', { signal }) as AsyncIterable<[RoleMessage]>;
  child.kill('SIGUSR2');
  for await (const [message] of messages) if ('released' in message) return;
}
