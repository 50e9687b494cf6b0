/** Warm sandboxes: running, generic, nobody's. A claim takes one and it never comes back; the pool then refills in the
 *  background, one at a time, so that real work comes first. Kept per class, since the heap limit is fixed at start. */

import type { Clock } from '../core/clock.ts';
import { egressKey } from '../core/egress.ts';
import { newSandboxId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Bytes, Millis } from '../core/units.ts';
import { Sandbox, type SandboxClass, type SandboxHost } from './sandbox/sandbox.ts';

/** A live revision's wish: its class, and how many instances it may ever have. */
export interface ClassDemand {
  readonly class: SandboxClass;
  readonly max: number;
}

export interface PoolOptions {
  /** Sandboxes kept for each class. */
  readonly size: number;
  /** What an idle sandbox holds, and the most all of them may hold. */
  readonly ceiling: Bytes;
  readonly clock: Clock;
  readonly log: Log;
}

const IDLE_SANDBOX: Bytes = 16 * 2 ** 20;
const WARM_WITHIN: Millis = 20_000;
const RETRY_AFTER: Millis = 2000;
/** Lets the claim that emptied a place have the processor first. */
const REFILL_AFTER: Millis = 25;

const keyOf = ({ rootfs, memory, egress }: SandboxClass): string => `${memory} ${rootfs} ${egressKey(egress)}`;

/** How many to keep of each class: enough for its functions, at most `size`, and all within the memory ceiling, the classes
 *  with the most functions first. */
export function poolTargets(demands: readonly ClassDemand[], size: number, ceiling: Bytes): Map<string, number> {
  const wanted = new Map<string, number>();
  for (const demand of demands) {
    const key = keyOf(demand.class);
    wanted.set(key, Math.min(size, (wanted.get(key) ?? 0) + demand.max));
  }
  let left = Math.floor(ceiling / IDLE_SANDBOX);
  const targets = new Map<string, number>();
  for (const [key, count] of [...wanted].sort((a, b) => b[1] - a[1])) {
    targets.set(key, Math.min(count, left));
    left -= Math.min(count, left);
  }
  return targets;
}

export class Pool<Owner> implements AsyncDisposable {
  readonly #host: SandboxHost;
  readonly #options: PoolOptions;
  readonly #warm = new Map<string, Sandbox<Owner>[]>();
  #classes = new Map<string, SandboxClass>();
  #targets = new Map<string, number>();
  #filling: Promise<void> | undefined;
  #closed = false;

  constructor(host: SandboxHost, options: PoolOptions) {
    this.#host = host;
    this.#options = options;
  }

  get size(): number {
    return [...this.#warm.values()].reduce((sum, list) => sum + list.length, 0);
  }

  /** A warm sandbox of the class, or undefined. It is the caller's from now on. */
  take(wanted: SandboxClass): Sandbox<Owner> | undefined {
    const list = this.#warm.get(keyOf(wanted));
    let found = list?.shift();
    while (found?.over) found = list?.shift();
    if (found) this.#options.clock.after(REFILL_AFTER, () => this.#fill());
    return found;
  }

  /** What is deployed now. Classes nobody wants any more are emptied. */
  want(demands: readonly ClassDemand[]): void {
    this.#classes = new Map(demands.map((demand) => [keyOf(demand.class), demand.class]));
    this.#targets = poolTargets(demands, this.#options.size, this.#options.ceiling);
    for (const [key, list] of this.#warm) {
      for (const extra of list.splice(this.#targets.get(key) ?? 0)) void this.#discard(extra);
    }
    this.#fill();
  }

  /** Takes over a warm sandbox of an earlier worker. */
  adopt(sandbox: Sandbox<Owner>): void {
    this.#add(keyOf(sandbox.class), sandbox);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#filling;
    await Promise.all([...this.#warm.values()].flat().map((sandbox) => this.#discard(sandbox)));
    this.#warm.clear();
  }

  /** Lets go of all without ending them. */
  async release(): Promise<void> {
    this.#closed = true;
    await this.#filling;
    for (const sandbox of [...this.#warm.values()].flat()) sandbox.release();
  }

  #fill(): void {
    this.#filling ??= this.#fillAll().finally(() => (this.#filling = undefined));
  }

  async #fillAll(): Promise<void> {
    const failed = new Set<string>();
    for (let wanted = this.#missing(failed); wanted && !this.#closed; wanted = this.#missing(failed)) {
      try {
        const sandbox = await Sandbox.start<Owner>(this.#host, newSandboxId(), wanted);
        try {
          await sandbox.warm(WARM_WITHIN);
        } catch (error) {
          await this.#discard(sandbox);
          throw error;
        }
        this.#add(keyOf(wanted), sandbox);
      } catch (error) {
        // The next class may fare better: one without a network, where networks cannot be made.
        this.#options.log.warn({ err: error }, 'a pool sandbox did not start');
        failed.add(keyOf(wanted));
      }
    }
    if (failed.size > 0 && !this.#closed) this.#options.clock.after(RETRY_AFTER, () => this.#fill());
  }

  /** The class furthest below its target. */
  #missing(failed: ReadonlySet<string>): SandboxClass | undefined {
    const gaps = [...this.#targets]
      .filter(([key]) => !failed.has(key))
      .map(([key, target]) => ({ key, gap: target - (this.#warm.get(key)?.length ?? 0) }));
    const [worst] = gaps.sort((a, b) => b.gap - a.gap);
    return worst && worst.gap > 0 ? this.#classes.get(worst.key) : undefined;
  }

  #add(key: string, sandbox: Sandbox<Owner>): void {
    const list = this.#warm.get(key) ?? [];
    this.#warm.set(key, list);
    list.push(sandbox);
    void sandbox.ended.then(async () => {
      const index = list.indexOf(sandbox);
      if (index < 0) return; // It was taken: its new owner sees the end.
      list.splice(index, 1);
      await this.#discard(sandbox);
      this.#options.clock.after(RETRY_AFTER, () => this.#fill());
    });
  }

  async #discard(sandbox: Sandbox<Owner>): Promise<void> {
    try {
      await sandbox[Symbol.asyncDispose]();
    } catch (error) {
      this.#options.log.warn({ err: error, sandbox: sandbox.id }, 'a pool sandbox could not be removed');
    }
  }
}
