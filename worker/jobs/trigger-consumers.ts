/** Keeps one consumer open for each queue trigger of the functions that run, and makes a new one when a deploy changes what
 *  the old was made of. Level-triggered: `sync` compares what is wanted with what is open. */

import type { Config } from '../../core/config.ts';
import { queueTriggers } from '../../core/spec.ts';
import { Consumer, type ConsumerDeps, type Source } from './consumer.ts';
import type { LiveFunctions } from './functions.ts';
import { queueSource } from './sources.ts';

/** Each takes a connection to Redis. */
const LIMIT = 500;

export class TriggerConsumers implements AsyncDisposable {
  readonly #config: Config;
  readonly #functions: LiveFunctions;
  readonly #deps: ConsumerDeps;
  /** By function and trigger, as text: a changed trigger is another one. */
  readonly #open = new Map<string, Consumer>();
  readonly #closing = new Set<Promise<void>>();
  #syncing: Promise<void> = Promise.resolve();
  /** The next sync has not begun: it will see what changed until then. */
  #queued = false;
  #closed = false;

  constructor(config: Config, functions: LiveFunctions, deps: ConsumerDeps) {
    this.#config = config;
    this.#functions = functions;
    this.#deps = deps;
  }

  get size(): number {
    return this.#open.size;
  }

  sync(): Promise<void> {
    if (this.#queued) return this.#syncing;
    this.#queued = true;
    this.#syncing = this.#syncing.then(() => {
      this.#queued = false;
      return this.#sync();
    });
    return this.#syncing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#syncing;
    for (const key of this.#open.keys()) this.#close(key);
    await Promise.all(this.#closing);
  }

  async #sync(): Promise<void> {
    if (this.#closed) return;
    const wanted = this.#wanted();
    for (const key of this.#open.keys()) if (!wanted.has(key)) this.#close(key);
    for (const [key, source] of wanted) {
      if (this.#open.has(key)) continue;
      if (this.#open.size >= LIMIT) {
        this.#deps.log.error({ limit: LIMIT, queue: source.queue }, 'too many queue triggers');
        return;
      }
      try {
        this.#open.set(key, await Consumer.open(source, this.#deps));
      } catch (error) {
        this.#deps.log.warn({ queue: source.queue, err: error }, 'queue not opened'); // The next sync tries again.
      }
    }
  }

  #wanted(): Map<string, Source> {
    const wanted = new Map<string, Source>();
    for (const spec of this.#functions.specs()) {
      for (const trigger of queueTriggers(spec)) {
        const source = queueSource(spec.name, trigger, this.#config, () => this.#functions.spec(spec.name));
        wanted.set(JSON.stringify([spec.name, source.concurrency, trigger]), source);
      }
    }
    return wanted;
  }

  /** Jobs it runs come to their end; a successor may take others meanwhile. */
  #close(key: string): void {
    const consumer = this.#open.get(key);
    this.#open.delete(key);
    if (!consumer) return;
    const closed = consumer[Symbol.asyncDispose]().finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }
}
